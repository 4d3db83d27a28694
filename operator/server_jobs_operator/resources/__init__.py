"""The custom resources: their models, their definitions, and what is known of each.

Nothing here calls the API server. What is done about a resource is decided by ``controllers``.
"""
