"""Keeps custom resources up to date: a module for each kind, and one for the default JobRunner.

A controller is told of changes, writes its resource's status, and hands on what the launches
need to know. How changes arrive is the business of ``kopf_watch``.
"""
