"""What the operator reports: probes, metrics, Events, the fields of its log lines.

Nothing here decides anything. Each module writes to one audience: the kubelet, Prometheus,
``kubectl describe``, the log.
"""
