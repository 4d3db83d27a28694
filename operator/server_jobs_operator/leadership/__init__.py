"""Which replica leads, and what a leader does from the beginning to the end of its term.

The leader's loops are here. What they do in each round is in ``launches`` and ``controllers``.
"""
