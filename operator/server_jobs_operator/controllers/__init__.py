"""One module for each custom resource that the operator keeps up to date.

A controller is told of changes, writes its resource's status, and hands on what the launches
need to know. How changes arrive is the business of ``kopf_watch``.
"""
