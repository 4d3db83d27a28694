"""Makes ``python -m server_jobs_operator`` work like the command ``server-jobs-operator``."""

from server_jobs_operator.cli import main

main()
