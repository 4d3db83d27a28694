"""``python -m server_jobs.cli``, where no ``server-jobs`` is on the path."""

from server_jobs.cli import main

main()
