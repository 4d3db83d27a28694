"""One claimed job becomes its outcome, and the outcome is settled.

Here are the call of the handler, the leases that are kept meanwhile, the commit in which many
outcomes are written at once, and the execution inside a caller's own process. Which jobs to
claim, and when, is decided by the backends.
"""
