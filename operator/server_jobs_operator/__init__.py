"""The Kubernetes backend: an operator that launches one Kubernetes Job per claimed record.

It needs the extra: ``pip install 'server-jobs[operator]'``. kopf and the Kubernetes API are used
in this package alone.
"""
