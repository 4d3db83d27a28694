"""The statements on ``jobs``, by step of a job's life.

Each module has the statements of one step. They are built as SQLAlchemy Core, once per database,
and no statement on jobs stands anywhere else.
"""
