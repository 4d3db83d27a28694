"""This folder holds the migrations: changes of the schema, in steps that only add.

``server_jobs.migrate`` runs them by Alembic. ``sql`` has a step's text for each dialect, which is
frozen once released; ``versions`` has Alembic's revisions, which run that text.
"""
