"""This folder holds the SQL that all statements share: tables, rules, column types, constructs.

A construct is one piece of SQL that is compiled differently for each dialect. The statements
themselves lie in the folders that run them: ``store``, ``schedules``, ``monitoring`` and
``launches``.
"""
