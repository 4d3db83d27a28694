"""What stands in a row, as plain data: statuses, rows, requests, outcomes, retry policies.

Nothing here imports SQLAlchemy or knows how a row is read or written.
"""
