"""Every error that server-jobs raises on purpose.

::

    ServerJobsError
    ├── ConfigurationError            a setting is wrong; nothing was attempted
    │   ├── DatabaseNotConfiguredError    no database was bound or set, in code or environment
    │   ├── InvalidDatabaseUrlError       the URL can't be used; the message names the part
    │   ├── InvalidAppError               --app / SERVER_JOBS_APP doesn't lead to a registry
    │   ├── InvalidJobDefinitionError     define_job() can't make a job of this
    │   └── MissingDependencyError        an extra isn't installed; the message names it
    ├── StoreError                    the records can't be read or written; drivers raise these
    │   ├── SchemaError                   the tables aren't what this code needs
    │   │   ├── MigrationRequiredError        missing or too old: run `server-jobs migrate`
    │   │   ├── SchemaTooNewError             migrated by a release that this one is too old for
    │   │   └── ForeignTableError             server-jobs didn't create the table of that name
    │   └── DatabaseError                 the database refused a statement, or can't be reached
    │       ├── DatabaseUnavailableError      no connection, or it broke; trying again may help
    │       └── DataRefusedError              the database doesn't take these values
    │           └── ConstraintViolatedError       a row broke a constraint of the schema
    ├── InvalidJobDataError           data that doesn't fit a job's schema or limits
    │   ├── InvalidParamsError
    │   ├── InvalidResultError
    │   └── InvalidOptionError            an option of later(), now(), … is out of range
    ├── InvalidScheduleError          an expression, a zone or another field of a schedule is wrong
    ├── ScheduleNotFoundError         no schedule has that name
    ├── ScheduleManagedElsewhereError another source declares the schedule: change it there
    ├── UnknownJobError               the registry has no job of that name
    ├── DuplicateJobError             the registry has another job of that name
    ├── JobNotFoundError              no record has that id
    ├── JobNotClaimableError          the record isn't due, or another holder has it
    ├── JobNotRetryableError          the record isn't failed or cancelled, or its key is taken
    ├── JobFailedError                a job ended without a result (``.now``, ``.data``)
    │   └── JobCancelledError             it was cancelled
    ├── NotStartedError               ``.batch(stop_on_error=True)`` ended before this input
    ├── LeaseLostError                another worker may have the job now; stop
    └── WaitTimeoutError              ``.wait()`` gave up; the job goes on

A handler raises one of three more to choose how its execution ends. They aren't errors:

::

    JobSignal
    ├── PermanentError                fail now, even if attempts are left
    ├── RetryLater                    run me again after a delay; no attempt is used
    └── CancelJob                     end as cancelled
"""

from __future__ import annotations

from datetime import timedelta


class ServerJobsError(Exception):
    """Base of every error that this library raises."""


class ConfigurationError(ServerJobsError):
    """A setting is wrong; nothing was attempted."""


class DatabaseNotConfiguredError(ConfigurationError):
    """No database was bound or set in code, and no environment variable names one."""


class InvalidDatabaseUrlError(ConfigurationError):
    """The database URL can't be used."""


class InvalidAppError(ConfigurationError):
    """``--app`` doesn't lead to a job registry."""


class InvalidJobDefinitionError(ConfigurationError):
    """``define_job`` can't make a job of what it was given."""


class MissingDependencyError(ConfigurationError):
    """An optional dependency isn't installed."""


class StoreError(ServerJobsError):
    """The records can't be read or written: because of the tables, or of the database."""


class SchemaError(StoreError):
    """The tables in the database aren't what this code needs."""


class MigrationRequiredError(SchemaError):
    """The tables are missing or too old."""


class SchemaTooNewError(SchemaError):
    """The tables were migrated by a release that no longer supports this one."""


class ForeignTableError(SchemaError):
    """The database has a table of the same name that server-jobs didn't create."""


class RowsInTheWayError(SchemaError):
    """Rows of the tables break a rule that a migration adds, so it has changed nothing."""


class DatabaseError(StoreError):
    """The database refused a statement."""


class DatabaseUnavailableError(DatabaseError):
    """The database can't be reached, or the connection broke: the statement may have run."""


class DataRefusedError(DatabaseError):
    """The database will never accept these values; nothing was written."""


class ConstraintViolatedError(DataRefusedError):
    """A row broke a constraint of the schema; nothing was written."""


class InvalidJobDataError(ServerJobsError):
    """Data doesn't fit a job's schema or limits."""


class InvalidParamsError(InvalidJobDataError):
    """The params don't fit the job's params schema."""


class InvalidResultError(InvalidJobDataError):
    """The handler's return value doesn't fit the job's result schema."""


class InvalidScheduleError(ServerJobsError):
    """A schedule can't be kept: its expression, its zone or another of its fields is wrong."""


class ScheduleNotFoundError(ServerJobsError):
    """No schedule has that name."""


class ScheduleManagedElsewhereError(ServerJobsError):
    """Another source declares the schedule, and would undo a change that is made here."""


class InvalidOptionError(InvalidJobDataError):
    """An option is out of range or can't be stored."""


class UnknownJobError(ServerJobsError):
    """The registry has no job of that name."""


class DuplicateJobError(ServerJobsError):
    """The registry has another job of that name."""


class JobNotFoundError(ServerJobsError):
    """No record has that id."""


class JobNotClaimableError(ServerJobsError):
    """The record isn't due, isn't pending, or another worker holds it."""


class JobNotRetryableError(ServerJobsError):
    """The record isn't failed or cancelled, or a live job holds its unique key."""


class JobFailedError(ServerJobsError):
    """A job ended without a result.

    ``__cause__`` is the handler's exception, if the handler ran in this process.
    """

    def __init__(self, message: str, *, job_name: str, job_id: str | None = None) -> None:
        super().__init__(message)
        self.job_name = job_name
        self.job_id = job_id


class JobCancelledError(JobFailedError):
    """The job was cancelled before it had a result."""


class NotStartedError(ServerJobsError):
    """The batch stopped at an earlier input's error. This input never began and has no record."""


class LeaseLostError(ServerJobsError):
    """This execution lost its lease: the database refuses whatever it still writes."""


class WaitTimeoutError(ServerJobsError):
    """The job didn't end within the time of the wait. The job itself goes on."""


class JobSignal(Exception):
    """Base of what a handler raises to choose how its execution ends."""


class PermanentError(JobSignal):
    """Fail the job now, even if attempts are left."""


class RetryLater(JobSignal):
    """Run the job again after ``delay``, a timedelta or seconds. No attempt is used.

    Raises ValueError if the delay is negative or longer than ten years.

    >>> raise RetryLater(timedelta(minutes=5))
    """

    def __init__(self, delay: timedelta | float, reason: str = "") -> None:
        seconds = delay.total_seconds() if isinstance(delay, timedelta) else float(delay)
        if not 0 <= seconds <= 10 * 365 * 86_400:
            raise ValueError(f"RetryLater takes 0 seconds to ten years, got {seconds}")
        super().__init__(reason or f"asked to be run again in {seconds:g} s")
        self.delay_seconds = seconds


class CancelJob(JobSignal):
    """End the job as cancelled, with a reason that is kept in the record."""

    def __init__(self, reason: str = "cancelled by its handler") -> None:
        super().__init__(reason)
        self.reason = reason
