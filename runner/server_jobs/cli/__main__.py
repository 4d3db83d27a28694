"""Makes ``python -m server_jobs.cli`` work like the command ``server-jobs``."""

from server_jobs.cli import main

main()
