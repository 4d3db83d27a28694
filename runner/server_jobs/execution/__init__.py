"""One claimed job becomes its outcome, and the outcome is settled.

This room calls handlers, keeps leases while they run, writes many outcomes in one commit, and
executes jobs inside a caller's own process. Which jobs are claimed, and when, the backends decide.
"""
