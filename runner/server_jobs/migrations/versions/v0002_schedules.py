"""Catch-up and traces of schedules."""

from server_jobs.migrations.steps import run

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add their columns, and the index by which live jobs of a schedule are found."""
    run("0002")
