"""From a claimed record to a Kubernetes Job, and from a Job's end to a settled record.

Here is what claims, creates, judges and reconciles. It runs only while its replica leads:
``leadership`` has the loops. Nothing here serves a custom resource; that is for ``controllers``.
"""
