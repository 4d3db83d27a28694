"""Statements on ``cron_jobs`` and on the jobs that schedules make, by step of a schedule's life.

A tick decides on all due schedules in one atomic batch. A compare-and-set moves ``next_run_at`` on
and writes a token, an INSERT makes the jobs of the schedules that carry this token, and an UPDATE
records the decision. A second scheduler finds another ``next_run_at`` and changes nothing.
"""
