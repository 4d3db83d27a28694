"""Defines the demo's jobs, as examples to copy from.

Params and results are pydantic models. A type checker knows that ``analyse_module.wait(…)`` returns
a ``JobResult[ModuleStatistics]``. A handler may run more than once, since its worker may die;
running any of these twice does no harm.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from pydantic import BaseModel

from server_jobs import (
    JobContext,
    JobRecord,
    PermanentError,
    RetryLater,
    RetryPolicy,
    create_job_registry,
    define_job,
)
from server_jobs.demo.modules import LIBRARY, ModuleStatistics, measure
from server_jobs.records.requests import JobFilter
from server_jobs.store.store import Store

# ── one job per file ─────────────────────────────────────────────────────────────────────────


class Module(BaseModel):
    """Names a file of the standard library, by its path within it."""

    path: str


# A plain `def` runs on one of the worker's threads, which suits code that computes or blocks.
# Failures and dead workers use up attempts, so there are a few more than one.
@define_job(
    name="demo.AnalyseModule",
    max_attempts=5,
    retry_policy=RetryPolicy.exponential(base=0.5),
)
def analyse_module(params: Module) -> ModuleStatistics:
    """Parse a module and return what it is made of."""
    try:
        source = (LIBRARY / params.path).read_bytes()
    except FileNotFoundError as error:
        raise PermanentError(f"there is no {params.path} in {LIBRARY}") from error
    return measure(params.path, source)


# ── a job that needs the others' results ─────────────────────────────────────────────────────


class Run(BaseModel):
    """Describes one run of the demo: its own queue, and how many modules it analyses."""

    queue: str
    modules: int


class FunctionOfModule(BaseModel):
    """Describes a function: its file, its name and its number of lines."""

    path: str
    name: str
    lines: int


class Report(BaseModel):
    """Sums up the statistics of the whole library."""

    modules: int = 0
    lines: int = 0
    comment_lines: int = 0
    functions: int = 0
    classes: int = 0
    biggest_module: str = ""
    biggest_module_lines: int = 0
    longest_function: FunctionOfModule | None = None
    most_imported: list[tuple[str, int]] = []
    unparsable: list[str] = []
    without_result: list[str] = []


@define_job(name="demo.GatherStatistics", priority=10)
async def gather_statistics(params: Run, context: JobContext) -> Report:
    """Add up the results of all modules, once they have ended."""
    store = Store(context.get_database())
    ended = await _ended(store, params.queue)
    if ended < params.modules:
        # No attempt is used up by this, however often it happens.
        raise RetryLater(1, f"waits for {params.modules - ended:,} modules")
    report, imports = Report(), Counter[str]()
    async for record in _analyses(store, params.queue):
        _add(record, report, imports)
        await context.update_progress(100 * report.modules / params.modules, "adds up")
    report.most_imported = imports.most_common(5)
    return report


async def _ended(store: Store, queue: str) -> int:
    counts = await store.counts()
    return sum(
        count.count
        for count in counts
        if count.queue == queue and count.job_name == analyse_module.name and count.status.finished
    )


async def _analyses(store: Store, queue: str) -> AsyncIterator[JobRecord]:
    """The records of a run's modules, page by page."""
    before_id = None
    wanted = JobFilter(job_names=(analyse_module.name,), queues=(queue,))
    while page := await store.list_jobs(wanted, before_id=before_id, limit=500):
        for record in page:
            yield record
        before_id = page[-1].id


def _add(record: JobRecord, report: Report, imports: Counter[str]) -> None:
    report.modules += 1
    if record.result is None:
        report.without_result.append(Module.model_validate_json(record.params).path)
        return
    module = ModuleStatistics.model_validate_json(record.result)
    imports.update(module.imports)
    report.lines += module.lines
    report.comment_lines += module.comment_lines
    report.functions += module.functions
    report.classes += module.classes
    if module.problem is not None:
        report.unparsable.append(module.path)
    if module.lines > report.biggest_module_lines:
        report.biggest_module, report.biggest_module_lines = module.path, module.lines
    longest, here = report.longest_function, module.longest_function
    if here is not None and (longest is None or here.lines > longest.lines):
        report.longest_function = FunctionOfModule(path=module.path, **here.model_dump())


# ── a job that fails and is tried again ──────────────────────────────────────────────────────


class Call(BaseModel):
    """Describes a call of a service that fails the first few times."""

    failures: int


class Answer(BaseModel):
    """Holds the service's answer."""

    attempts: int


@define_job(
    name="demo.CallFlakyService",
    priority=10,
    max_attempts=3,
    retry_policy=RetryPolicy.fixed(0.5),
)
async def call_flaky_service(params: Call, context: JobContext) -> Answer:
    """Call a service that is sometimes down. To be retried, a handler just raises."""
    if context.attempt <= params.failures:
        raise ConnectionError("the service hung up")
    return Answer(attempts=context.attempt)


# ── a job that is due later ──────────────────────────────────────────────────────────────────


class Reminder(BaseModel):
    """Says what to be reminded of."""

    text: str


class Reminded(BaseModel):
    """Says when the reminder was sent, in UTC."""

    sent_at: datetime


@define_job(name="demo.SendReminder", priority=10)
async def send_reminder(params: Reminder, context: JobContext) -> Reminded:
    """Send a reminder. The delay isn't known here: the code that enqueues the job sets it."""
    context.log.info("reminder", text=params.text)
    return Reminded(sent_at=datetime.now(UTC))


# ── a job that is long, and whose worker is killed ───────────────────────────────────────────


class Primes(BaseModel):
    """Says up to which number to count primes."""

    below: int
    killed_on_attempt: int | None = None


class PrimesCounted(BaseModel):
    """Says how many primes there are, and which attempt and process counted them."""

    primes: int
    attempt: int
    pid: int


@define_job(name="demo.CountPrimes", priority=10, max_attempts=3, retry_policy=RetryPolicy.fixed(0))
def count_primes(params: Primes, context: JobContext) -> PrimesCounted:
    """Count primes and report progress.

    A thread can't be interrupted, so the handler asks now and then whether it is to stop.
    """
    primes = 0
    for number in range(2, params.below):
        primes += all(number % divisor for divisor in range(2, int(number**0.5) + 1))
        if number % 1_000 == 0:
            context.raise_if_cancelled()
            context.update_progress(100 * number / params.below, f"{primes:,} primes so far")
        if number == params.below // 2 and context.attempt == params.killed_on_attempt:
            _wait_to_be_killed(context)
    context.update_progress(100, f"{primes:,} primes")
    return PrimesCounted(primes=primes, attempt=context.attempt, pid=os.getpid())


def _wait_to_be_killed(context: JobContext, patience: float = 60) -> None:
    """Wait at half-way until the demo has seen the job there and kills this process."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        context.raise_if_cancelled()
        context.update_progress(50, "half-way, and about to be killed")
        time.sleep(0.1)


registry = (
    create_job_registry()
    .register(analyse_module)
    .register(gather_statistics)
    .register(call_flaky_service)
    .register(send_reminder)
    .register(count_primes)
)
"""The registry that a worker loads: ``server-jobs worker --app server_jobs.demo.jobs:registry``."""
