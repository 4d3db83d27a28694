"""What the operator tells of itself: probes, metrics, Events, the fields of its log lines."""
