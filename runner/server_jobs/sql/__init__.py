"""SQL that the dialects share: the tables, their rules, column types and constructs.

A construct is compiled for each dialect that differs. Statements that use these lie with what
they are about: ``store``, ``schedules``, ``monitoring``, ``launches``.
"""
