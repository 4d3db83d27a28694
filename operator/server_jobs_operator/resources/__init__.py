"""The custom resources: their models, their definitions, and what is known of each.

Everything here is pure. What is done about a resource is decided by ``controllers``.
"""
