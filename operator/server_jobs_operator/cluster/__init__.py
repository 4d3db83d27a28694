"""What the operator sees of the cluster: API calls, names, Jobs and pods, reasons.

Nothing here writes to the database or decides what becomes of a launch.
"""
