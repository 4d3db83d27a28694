"""How often each record was completed, as the database itself saw it."""

import psycopg

from server_jobs import JobStatus
from server_jobs.store.store import Store
from tests.e2e.support.kubectl import Kubectl
from tests.e2e.support.waiting import errors, over, record_when, until_no_orphans

_TRIGGER = """
CREATE TABLE IF NOT EXISTS completions (job_id text NOT NULL);
CREATE OR REPLACE FUNCTION note_completion() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO completions VALUES (NEW.id); RETURN NEW; END $$;
CREATE OR REPLACE TRIGGER note_completion AFTER UPDATE OF status ON jobs
FOR EACH ROW WHEN (NEW.status = 'completed') EXECUTE FUNCTION note_completion()
"""


class Completions:
    """Counts from now on, whoever writes."""

    def __init__(self, url: str) -> None:
        self._url = url
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_TRIGGER)

    def of(self, job_ids: list[str]) -> dict[str, int]:
        """Per job how many writes said that it is completed."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            rows = connection.execute(
                "SELECT job_id, count(*) FROM completions WHERE job_id = ANY(%s) GROUP BY 1",
                [job_ids],
            ).fetchall()
        return {job_id: int(count) for job_id, count in rows}


async def all_completed_once(
    store: Store, completions: Completions, namespace: Kubectl, ids: list[str]
) -> None:
    """Each job is completed, by one write, and nothing runs or stays behind."""
    records = [await record_when(store, job_id, over, 240) for job_id in ids]
    told = {record.id: (record.status, errors(record)) for record in records}
    assert {record.status for record in records} == {JobStatus.COMPLETED}, told
    await until_no_orphans(namespace)
    assert completions.of(ids) == dict.fromkeys(ids, 1)
