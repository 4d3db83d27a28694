"""The drills take minutes: `make test-faults` runs them, `make test` doesn't."""

import os
import random
from pathlib import Path

import pytest

from tests.support.drills.drill import PATIENCE_SECONDS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(PATIENCE_SECONDS + 60))


@pytest.fixture
def seed() -> int:
    """The drill's randomness: another one each time, or that of a failure to look into."""
    return int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(10**6))
