"""From a claimed record to a Kubernetes Job, and from a Job's end to a settled record.

Here are the loops that claim, create, judge and reconcile. They run only while their replica
leads; ``leadership`` starts and ends them.
"""
