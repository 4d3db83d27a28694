"""A job that exists if, and only if, the order does: both are rows of one transaction.

An order is placed twice. The first transaction commits, and its receipt is sent; the second
rolls back, and takes its job with it.
"""

import asyncio
import tempfile

from pydantic import BaseModel
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from server_jobs import connect, create_job_registry, define_job
from server_jobs.migrate import migrate
from server_jobs.worker import LocalWorker, WorkerConfig


class Base(DeclarativeBase):
    """The application's own tables."""


class Order(Base):
    """What a customer wants."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]


class Receipt(BaseModel):
    """What the job needs to know."""

    order_id: int
    customer: str


class PaymentDeclinedError(Exception):
    """No order, then, and no receipt."""


sent: list[str] = []


@define_job(name="SendReceipt")
async def send_receipt(params: Receipt) -> None:
    sent.append(f"order {params.order_id} to {params.customer}")


async def place_order(session: Session, customer: str) -> None:
    order = Order(customer=customer)
    session.add(order)
    session.flush()  # the order has its id now
    receipt = Receipt(order_id=order.id, customer=customer)
    await send_receipt.later(receipt, connection=session)
    if customer == "Eve":
        raise PaymentDeclinedError


async def main(url: str) -> None:
    migrate(url)
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    database = connect(url)
    registry = create_job_registry().register(send_receipt).bind(database)

    with Session(engine) as session, session.begin():
        await place_order(session, "Ada")

    try:
        with Session(engine) as session, session.begin():
            await place_order(session, "Eve")
    except PaymentDeclinedError:
        print("Eve's order was rolled back, and its job with it")

    drain = WorkerConfig(drain=True)
    await LocalWorker(database=database, job_registry=registry, config=drain).run_until_stopped()
    print("receipts sent:", sent)
    assert sent == ["order 1 to Ada"]
    await database.close()
    engine.dispose()


with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(f"sqlite:///{folder}/jobs.db"))
