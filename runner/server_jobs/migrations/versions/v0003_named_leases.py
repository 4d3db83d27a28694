"""Step 0003 adds leases on a name, for work that only one process may do at a time."""

from server_jobs.migrations.steps import run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table ``server_jobs_leases``."""
    run("0003")
