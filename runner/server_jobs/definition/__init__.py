"""What a job is, and what its handler is given.

Here are the definition that ``define_job`` makes, the codec of params and results, the checks of
options, the row that enqueuing writes, and the context, the logger and the wish to stop that a
running handler sees. Nothing here executes a handler or keeps a lease; that is ``execution``.
"""
