"""`make kind-up` and `make e2e` before a cluster is there.

`docker`, `kind`, `kubectl` and `helm` are stubs here: they note how they are called, and do
nothing. A real kind needs Docker.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUB = """\
#!/bin/sh
echo "$(basename "$0") $*" >> {calls}
case "$(basename "$0") $1 $2" in "kind get clusters") cat {clusters} ;; esac
"""


class Stubs:
    """A PATH on which these programs are stubs, and nothing else is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "stubs"
        self._folder.mkdir()
        self._calls, self._clusters = folder / "calls", folder / "clusters"
        self._calls.touch()
        self._clusters.touch()
        for name in ("docker", "kind", "kubectl", "helm"):
            path = self._folder / name
            path.write_text(STUB.format(calls=self._calls, clusters=self._clusters))
            path.chmod(0o755)
        for name in ("sh", "basename", "cat"):
            (self._folder / name).symlink_to(Path("/bin") / name)

    def remove(self, name: str) -> None:
        (self._folder / name).unlink()

    def have_cluster(self, name: str) -> None:
        self._clusters.write_text(f"{name}\n")

    def run(
        self, module: str, *arguments: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """A module of the end-to-end tests, as make runs it."""
        given = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=given | {"PATH": str(self._folder)} | environment,
            capture_output=True,
            text=True,
        )

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines()


@pytest.fixture
def stubs(tmp_path: Path) -> Stubs:
    return Stubs(tmp_path)


def test_kind_up_builds_the_images_makes_a_cluster_and_loads_them(stubs: Stubs) -> None:
    done = stubs.run("tests.e2e.kind")

    assert done.returncode == 0, done.stderr
    runner, app, plain, operator, *others = stubs.calls
    assert runner == "docker build -f runner/Dockerfile -t localhost/server-jobs-runner:test ."
    assert app == (
        "docker build --build-arg RUNNER_IMAGE=localhost/server-jobs-runner:test"
        " -t localhost/server-jobs-e2e:test tests/e2e/app"
    )
    assert plain.startswith(
        "docker build -f tests/e2e/app/plain.Dockerfile -t localhost/server-jobs-plain:test /"
    )
    assert (
        operator == "docker build -f operator/Dockerfile -t localhost/server-jobs-operator:test ."
    )
    assert others == [
        "kind get clusters",
        "kind create cluster --name server-jobs --wait 120s",
        "kind load docker-image localhost/server-jobs-e2e:test localhost/server-jobs-plain:test"
        " localhost/server-jobs-operator:test --name server-jobs",
    ]


def test_kind_up_takes_the_cluster_that_is_there(stubs: Stubs) -> None:
    stubs.have_cluster("server-jobs")

    assert stubs.run("tests.e2e.kind").returncode == 0

    assert not [call for call in stubs.calls if call.startswith("kind create")]
    assert stubs.calls[-1].startswith("kind load docker-image")


def test_kind_up_gives_kind_what_it_is_given(stubs: Stubs) -> None:
    assert stubs.run("tests.e2e.kind", "--image", "kindest/node:v1.33.1").returncode == 0

    assert (
        "kind create cluster --name server-jobs --wait 120s --image kindest/node:v1.33.1"
        in stubs.calls
    )


def test_kind_up_ignores_nothing_it_is_given_for_a_cluster_that_is_there(stubs: Stubs) -> None:
    stubs.have_cluster("server-jobs")

    done = stubs.run("tests.e2e.kind", "--image", "kindest/node:v1.33.1")

    assert done.returncode != 0
    assert "`kind delete cluster --name server-jobs`" in done.stderr
    assert stubs.calls == ["kind get clusters"]


@pytest.mark.parametrize("program", ["docker", "kind", "kubectl", "helm"])
def test_kind_up_names_what_it_misses_before_it_builds(stubs: Stubs, program: str) -> None:
    stubs.remove(program)

    done = stubs.run("tests.e2e.kind")

    assert done.returncode != 0
    assert f"kind-up needs `{program}`, which isn't here: https://" in done.stderr
    assert stubs.calls == []


def test_a_cluster_whose_pods_find_no_database_is_an_error(stubs: Stubs) -> None:
    done = stubs.run("tests.e2e", KUBECONFIG="/nowhere")

    assert done.returncode != 0
    assert "Set SERVER_JOBS_E2E_HOST to an address of this machine" in done.stderr
    assert "passed" not in done.stdout


@pytest.mark.parametrize("program", ["kubectl", "helm"])
def test_tests_on_a_given_cluster_name_what_they_miss(stubs: Stubs, program: str) -> None:
    stubs.remove(program)

    done = stubs.run("tests.e2e", KUBECONFIG="/nowhere", SERVER_JOBS_E2E_HOST="127.0.0.1")

    assert done.returncode != 0
    assert f"the end-to-end tests need `{program}`" in done.stderr
