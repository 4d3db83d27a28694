"""This folder is ``make demo``: it runs real jobs, shows them, and checks the results at the end.

``demo.jobs`` is an example to copy from. The other modules enqueue, watch and check those jobs.
"""

from server_jobs.demo.run import run_demo

__all__ = ["run_demo"]
