"""What the operator sees of the cluster: API calls, names, Jobs and pods, reasons.

Nothing here writes to the database, and nothing here decides what happens to a launch.
"""
