"""The statements on ``jobs``, by step of a job's life.

Each module has the statements of one step, built as SQLAlchemy Core once per database. Only
``store`` and ``reader`` call them. What launches and schedules do to jobs stands in their folders.
"""
