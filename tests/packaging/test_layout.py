import subprocess
import sys
import sysconfig
import zipfile
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOP_LEVEL_FOLDERS = ["runner", "operator", "cloudflare", "charts", "crds"]
SHIPPED_PACKAGES = {"server_jobs", "server_jobs_cloudflare", "server_jobs_operator"}


@pytest.mark.parametrize("folder", TOP_LEVEL_FOLDERS)
def test_top_level_folder_is_no_package(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


def test_operator_is_the_standard_librarys_even_from_the_root_of_the_clone() -> None:
    standard_library = sysconfig.get_path("stdlib")

    # By the finder and not by an import: `operator` was imported long before this test began.
    spec = PathFinder.find_spec("operator", [str(ROOT), standard_library])

    assert spec is not None
    assert spec.origin == str(Path(standard_library) / "operator.py")


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    built = subprocess.run([*command, str(ROOT)], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_wheel_carries_only_the_intended_packages(wheel_names: list[str]) -> None:
    top_level = {name.split("/")[0] for name in wheel_names}
    metadata = {name for name in top_level if name.endswith(".dist-info")}

    assert len(metadata) == 1
    assert top_level - metadata == SHIPPED_PACKAGES


@pytest.mark.parametrize("package", sorted(SHIPPED_PACKAGES))
def test_wheel_says_that_the_package_is_typed(wheel_names: list[str], package: str) -> None:
    assert f"{package}/py.typed" in wheel_names
