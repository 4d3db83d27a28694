"""`server-jobs` in a process whose clock is wrong by so many seconds: the first argument.

It is Python's clock that is wrong. SQLite is a library in the same process, but asks the machine.
"""

import sys
from datetime import UTC, datetime, timedelta

import time_machine

if __name__ == "__main__":
    wrong_by = timedelta(seconds=float(sys.argv.pop(1)))
    # Before anything of server-jobs is imported, and until the end.
    time_machine.travel(datetime.now(UTC) + wrong_by, tick=True).start()

    from server_jobs.cli import main

    main()
