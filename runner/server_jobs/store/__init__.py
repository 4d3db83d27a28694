"""Where job records live: the state machine, its statements, and their only caller.

``transitions`` says what changes when a job's status does. ``statements`` says who may make a
transition. ``store`` runs them, and ``reader`` answers questions without changing anything.
"""
