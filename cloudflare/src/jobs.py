"""Two jobs to begin with. Replace them by yours."""

from pydantic import BaseModel

from server_jobs import JobContext, create_job_registry, define_job

registry = create_job_registry(app="cloudflare")


class SendEmailParams(BaseModel):
    """Who gets which message."""

    to: str
    subject: str
    body: str = ""


class SendEmailResult(BaseModel):
    """What the mail service calls the message."""

    message_id: str


@define_job(name="SendEmail", queue="edge", timeout=20)
async def send_email(params: SendEmailParams, context: JobContext) -> SendEmailResult:
    """Hand a message to a mail service. A repeated attempt has the same id: send it on, too."""
    await context.update_progress(50, "handing over")
    return SendEmailResult(message_id=f"message-{context.job_id}")


class ProcessDataParams(BaseModel):
    """What to add up."""

    numbers: list[float]


class ProcessDataResult(BaseModel):
    """What came of it."""

    count: int
    total: float


@define_job(name="ProcessData", queue="edge")
async def process_data(params: ProcessDataParams, context: JobContext) -> ProcessDataResult:
    """Add up, with progress."""
    total = 0.0
    for done, number in enumerate(params.numbers, 1):
        total += number
        await context.update_progress(100 * done / len(params.numbers))
    return ProcessDataResult(count=len(params.numbers), total=total)


registry.register(send_email).register(process_data)
