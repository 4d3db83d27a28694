"""All statements on jobs, and all on schedules, for what looks at each of them."""

from server_jobs.schedules.statements import define, fire, read
from server_jobs.store.statements.enqueue import EnqueueStatements
from server_jobs.store.statements.hold import HoldStatements
from server_jobs.store.statements.maintain import MaintainStatements
from server_jobs.store.statements.read import ReadStatements
from server_jobs.store.statements.settle import SettleStatements


class AllStatements(
    EnqueueStatements, HoldStatements, SettleStatements, MaintainStatements, ReadStatements
):
    """What five modules build, step by step of a job's life."""


class AllScheduleStatements(fire.FireStatements, define.DefineStatements, read.ReadStatements):
    """What three modules build, step by step of a schedule's life."""
