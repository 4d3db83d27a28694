"""The checks of ``server-jobs doctor``: one function for each question.

A check reads and never changes anything. How findings are printed belongs to the command.
"""
