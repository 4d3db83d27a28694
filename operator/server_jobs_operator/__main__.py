"""``python -m server_jobs_operator``, where no ``server-jobs-operator`` is on the path."""

from server_jobs_operator.cli import main

main()
