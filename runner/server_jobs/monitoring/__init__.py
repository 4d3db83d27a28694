"""Figures for people: what waits, what runs, what ended how, and how the server is doing.

Everything here reads, at a cost that doesn't grow with the history. Nothing here is needed to
execute a job.
"""
