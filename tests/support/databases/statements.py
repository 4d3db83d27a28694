"""All statements on jobs in one place, for what looks at each of them."""

from server_jobs.store.statements.enqueue import EnqueueStatements
from server_jobs.store.statements.hold import HoldStatements
from server_jobs.store.statements.maintain import MaintainStatements
from server_jobs.store.statements.read import ReadStatements
from server_jobs.store.statements.settle import SettleStatements


class AllStatements(
    EnqueueStatements, HoldStatements, SettleStatements, MaintainStatements, ReadStatements
):
    """What five modules build, step by step of a job's life."""
