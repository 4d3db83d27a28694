"""The conformance suite's fixtures."""

from tests.conformance.conftest import clock, database, kind, place, scene, store

__all__ = ["clock", "database", "kind", "place", "scene", "store"]
