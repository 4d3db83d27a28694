"""Step 0001 creates the tables ``jobs`` and ``cron_jobs``."""

from server_jobs.migrations.steps import run

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    run("0001")
