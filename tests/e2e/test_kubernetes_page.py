"""docs/kubernetes.md: its five minutes go as they are written, and the API server takes its YAML.

Blocks marked `machine` make a cluster, a database and images, which are there already; the rest
is run, with our images and the database's address in place of the page's.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.image_names import ROOT
from tests.e2e.support.kubectl import Kubectl
from tests.e2e.support.place import Place, empty_place
from tests.support.pages.markdown import code_blocks

PAGE = ROOT / "docs" / "kubernetes.md"
PAGES_URL = "postgresql://postgres:secret@db/postgres"

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def place(kubectl: Kubectl, server_url: str) -> Iterator[Place]:
    with empty_place(kubectl, server_url) as place:
        yield place


def shell(script: str, namespace: Kubectl, folder: Path) -> str:
    """Run it with the namespace as the kubeconfig's own → what it printed."""
    kubeconfig = folder / "kubeconfig"
    if not kubeconfig.exists():
        kubeconfig.write_text(namespace.run("config", "view", "--raw", "--minify"))
        kubeconfig.chmod(0o600)
        context = ("config", "set-context", "--current", "--namespace", namespace.namespace)
        subprocess.run(["kubectl", "--kubeconfig", kubeconfig, *context], check=True)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env=os.environ | {"KUBECONFIG": str(kubeconfig)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_five_minutes_end_with_a_result(
    place: Place, image: str, operator_image: str, tmp_path: Path
) -> None:
    repository, _, tag = operator_image.rpartition(":")
    ours = {
        PAGES_URL: place.url,
        "myapp-jobs:1": image,
        "helm install server-jobs ": "helm install server-jobs --take-ownership"
        f" --set image.repository={repository},image.tag={tag} ",
    }
    blocks = [block for block in code_blocks(PAGE, "sh") if "machine" not in block.marks]
    script = "\n".join(block.text for block in blocks)
    for pages, own in ours.items():
        assert pages in script, pages
        script = script.replace(pages, own)

    said = shell(script, place.namespace, tmp_path)

    assert "status        completed\n" in said, said
    assert said.count("result\n  42\n") == 1, said
    shell("helm uninstall server-jobs --wait", place.namespace, tmp_path)


def test_yaml_of_the_page_is_taken_by_the_api_server(namespace: Kubectl) -> None:
    blocks = code_blocks(PAGE, "yaml")

    assert blocks
    for block in blocks:
        assert yaml.safe_load(block.text)["kind"] in {"JobRunner", "JobSchedule"}
        namespace.run("apply", "--dry-run=server", "-f", "-", stdin=block.text)
