"""An app for the command line's tests: what a user would name with ``--app``."""

import asyncio
import time

from pydantic import BaseModel, SecretStr

from server_jobs import JobContext, create_job_registry, define_job


class Order(BaseModel):
    number: int
    card: SecretStr = SecretStr("")


class Receipt(BaseModel):
    number: int
    card: SecretStr = SecretStr("")


@define_job(name="Charge")
async def charge(params: Order, context: JobContext) -> Receipt:
    context.log.info("charging", {"name": "reserved", "message": object()})
    if params.number == 13:
        raise ValueError("no \x1b[31mthirteens")
    return Receipt(number=params.number, card=params.card)


@define_job(name="ChargeLater")
async def charge_later(params: Order) -> str:
    return await charge.later(params)


class Seconds(BaseModel):
    seconds: float


@define_job(name="Sleep")
async def sleep(params: Seconds, context: JobContext) -> float:
    await context.update_progress(50, "half asleep")
    await asyncio.sleep(params.seconds)
    return params.seconds


@define_job(name="SleepDeaf")
def sleep_deaf(params: Seconds) -> float:
    """Runs on a thread and never looks whether it should stop."""
    time.sleep(params.seconds)
    return params.seconds


@define_job(name="BlockLoop")
async def block_loop(params: Seconds) -> float:
    """What an async handler mustn't do, and some do."""
    time.sleep(params.seconds)  # noqa: ASYNC251
    return params.seconds


registry = create_job_registry()
for job in (charge, charge_later, sleep, sleep_deaf, block_loop):
    registry.register(job)

no_jobs = create_job_registry()
not_a_registry = {"Charge": charge}
