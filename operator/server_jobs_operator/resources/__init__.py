"""The custom resources: their models, their definitions, and what is known of each.

Nothing here calls the cluster or the database: ``controllers`` decide what is done about each.
"""
