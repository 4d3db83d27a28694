"""Programs of all kinds that enqueue, each with the job that it enqueues.

Run as a program, this module is one of them: its arguments are the program's name and the URL of
a database. It prints one line of JSON: how many jobs it enqueued, or the error that it was told.
As a WSGI app it enqueues once when it is imported, and once for each request.
"""

import asyncio
import atexit
import json
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

URL_SETTING = "TEST_PROGRAM_DATABASE"


def main(name: str, url: str) -> None:
    if name == "gevent":
        from gevent import monkey

        monkey.patch_all()
    if name == "eventlet":
        import eventlet

        eventlet.monkey_patch()
    from server_jobs import connect, define_job, run_sync
    from server_jobs.errors import ServerJobsError

    @define_job(name="Note")
    def note(params: int) -> int:
        return params

    note.set_database(connect(url))

    def enqueue(number: int) -> str:
        return run_sync(note.later(number))

    def enqueue_and_execute(number: int) -> None:
        job_id = enqueue(number)
        assert run_sync(note.get(job_id)).status == "pending"
        assert run_sync(note.execute_from_database(job_id)).data == number
        assert run_sync(note.wait(job_id, timeout=10)).data == number
        assert run_sync(note.now(number)).data == number

    def error_of(call: Callable[[], Any]) -> str:
        try:
            call()
        except ServerJobsError as error:
            return str(error)
        raise AssertionError("no error")

    def green_threads(start: Callable[[Callable[[int], str], int], Any]) -> None:
        enqueued = [start(enqueue, number) for number in range(60)]
        ids = [each.get() if hasattr(each, "get") else each.wait() for each in enqueued]
        assert {run_sync(note.get(job_id)).status for job_id in ids} == {"pending"}
        execute: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            lambda: note.now(1),
            lambda: note.batch([1]),
            lambda: note.wait(ids[0]),
            lambda: note.execute_from_database(ids[0]),
        ]
        say(len(set(ids)), {error_of(lambda c=call: run_sync(c())) for call in execute})  # type: ignore[misc]

    def use_gevent() -> None:
        import gevent

        green_threads(gevent.spawn)

    def use_eventlet() -> None:
        import eventlet

        green_threads(eventlet.spawn)

    def use_trio() -> None:
        import trio

        async def in_trio() -> None:
            errors = set()
            for call in (note.later(1), note.get("x"), note.now(1), note.wait("x")):
                try:
                    await call
                except ServerJobsError as error:
                    errors.add(str(error))
            await trio.to_thread.run_sync(enqueue_and_execute, 1)
            say(1, errors)

        trio.run(in_trio)

    def use_uvloop() -> None:
        import uvloop

        async def in_uvloop() -> None:
            job_id = await note.later(1)
            assert (await note.execute_from_database(job_id)).data == 1
            say(1)

        uvloop.run(in_uvloop())

    def use_nested_loop() -> None:
        async def in_a_notebook() -> None:
            await note.later(1)
            say(1, {error_of(lambda: run_sync(note.later(2)))})

        asyncio.run(in_a_notebook())

    def after_the_main_thread() -> None:
        enqueue(0)
        shutting_down = threading.Event()
        # It is called once the interpreter has begun to end, before it waits for threads.
        threading._register_atexit(shutting_down.set)  # type: ignore[attr-defined]

        def outlive() -> None:
            shutting_down.wait()
            enqueue_and_execute(1)
            say(2)

        threading.Thread(target=outlive).start()

    def at_exit() -> None:
        def say_good_bye() -> None:
            enqueue_and_execute(1)
            say(1)

        atexit.register(say_good_bye)

    def in_a_daemon_thread() -> None:
        thread = threading.Thread(target=enqueue_and_execute, args=(1,), daemon=True)
        thread.start()
        thread.join()
        say(1)

    programs = {
        "gevent": use_gevent,
        "eventlet": use_eventlet,
        "trio": use_trio,
        "uvloop": use_uvloop,
        "a notebook": use_nested_loop,
        "a thread that outlives the main one": after_the_main_thread,
        "atexit": at_exit,
        "a daemon thread": in_a_daemon_thread,
    }
    programs[name]()


def say(enqueued: int, errors: Iterable[str] = ()) -> None:
    print(json.dumps({"enqueued": enqueued, "errors": sorted(errors)}), flush=True)


def _wsgi_app() -> Callable[..., list[bytes]]:
    from server_jobs import connect, define_job, run_sync
    from server_jobs.errors import ServerJobsError

    @define_job(name="Note")
    def note(params: int) -> int:
        return params

    note.set_database(connect(os.environ[URL_SETTING]))
    run_sync(note.later(0))

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            status, body = "200 OK", run_sync(note.later(1))
        except ServerJobsError as error:
            status, body = "503 Service Unavailable", str(error)
        start_response(status, [("Content-Type", "text/plain")])
        return [f"{os.getpid()} {body}".encode()]

    return application


if __name__ == "__main__":
    main(*sys.argv[1:])
elif URL_SETTING in os.environ:
    application = _wsgi_app()
