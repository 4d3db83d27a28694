"""Leases on a name."""

from server_jobs.migrations.steps import run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add their table."""
    run("0003")
