"""One module for each custom resource that the operator serves, and one for the default JobRunner.

A controller is told of changes, writes the status of its resource, and passes on what ``launches``
need to know. Only ``kopf_watch`` knows how changes arrive.
"""
