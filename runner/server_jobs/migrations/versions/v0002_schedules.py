"""Step 0002 adds what bounds a schedule's catch-up, and its last decision."""

from server_jobs.migrations.steps import run

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns to ``cron_jobs``, and the index that finds a schedule's live jobs."""
    run("0002")
