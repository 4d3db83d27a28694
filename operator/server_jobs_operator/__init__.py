"""The Kubernetes backend: an operator that launches one Kubernetes Job per claimed record.

It needs the extra: ``pip install 'server-jobs[operator]'``. No other package uses kopf or the
Kubernetes API. docs/architecture.md has a map of the modules.
"""
