"""``make demo``: real work through a real queue, shown as it happens, and checked at the end.

``demo.jobs`` is an example to copy from; the rest plays it.
"""

from server_jobs.demo.run import run_demo

__all__ = ["run_demo"]
