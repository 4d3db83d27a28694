"""Jobs that are claimed by one process and executed by another.

This room has the reads and renewals that a launcher needs, and the runner that executes one
launched job in a process of its own. It knows nothing of Kubernetes; ``server_jobs_operator`` does.
"""
