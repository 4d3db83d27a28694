"""Step 0004 adds what a value of each column may be: its type, its length, its range."""

from server_jobs.migrations.steps import run

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add a constraint for each column, and on SQLite the column that brings them."""
    run("0004")
