"""What stands in a row, as plain data: statuses, rows, requests, outcomes, retry policies.

Nothing here imports SQLAlchemy. How rows are read and written is told in ``store``.
"""
