"""What the images of these tests are called, wherever they are built."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUNNER = "localhost/server-jobs-runner:test"
APP = "localhost/server-jobs-e2e:test"
OPERATOR = "localhost/server-jobs-operator:test"
