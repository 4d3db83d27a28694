"""Jobs that are claimed by one process and executed by another.

Here are the reads and renewals that a launcher needs, and the runner that executes one launched
job in a process of its own. Kubernetes itself is unknown here; that is ``server_jobs_operator``.
"""
