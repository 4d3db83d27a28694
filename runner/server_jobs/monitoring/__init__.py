"""This folder reads figures for people: pending, running and ended jobs, and the server's health.

Everything here only reads. Nothing here is needed to execute a job.
"""
