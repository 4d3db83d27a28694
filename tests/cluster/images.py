"""The images that must be there before any other: pause, and a Python to build ours on.

They are written as archives in the layout of `docker save`, which `ctr images import`,
`buildah pull docker-archive:`, `docker load` and `kind load image-archive` all read.
"""

import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.cluster import cache, programs

PAUSE = "localhost/pause:1"
# Not the image of that name, but one like it (Debian 13, its Python 3.13), so that our Dockerfiles
# are built as they are where the real one cannot be pulled.
PYTHON = "docker.io/library/python:3.13-slim"
PYTHON_SUITE = "trixie"
PYTHON_PACKAGES = "python3,python3-venv,ca-certificates"
UNNEEDED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt", "var/log",
            "var/lib/apt/lists", "usr/share/info")  # fmt: skip


def pause() -> Path:
    """The archive of the image of every pod's first process."""
    program = programs.servers() / "pause"

    def make(folder: Path) -> None:
        root = folder / "root"
        root.mkdir()
        shutil.copy(program, root / "pause")
        write_archive(root, PAUSE, folder / "image.tar", {"Entrypoint": ["/pause"]})

    return cache.made("pause", PAUSE.encode() + _code() + program.read_bytes(), make) / "image.tar"


def python() -> Path:
    """The archive of the Python image; making it takes a minute."""
    recipe = f"{PYTHON} {PYTHON_SUITE} {PYTHON_PACKAGES}".encode()
    return cache.made("python", recipe + _code(), _make_python) / "image.tar"


def write_archive(root: Path, tag: str, archive: Path, config: Mapping[str, object]) -> None:
    """Write the folder ``root`` as an image of one layer. The same folder gives the same image."""
    with tempfile.TemporaryFile(dir=archive.parent) as layer:
        with tarfile.open(fileobj=layer, mode="w") as files:
            for path in sorted(root.iterdir()):
                files.add(path, arcname=path.name, filter=_without_time)
        layer.seek(0)
        digest = hashlib.file_digest(layer, "sha256").hexdigest()
        description = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": config,
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
                # Without it, buildah refuses what is built on what was built on it.
                "history": [{"created_by": "tests/cluster/images.py"}],
            }
        ).encode()
        name = hashlib.sha256(description).hexdigest() + ".json"
        manifest = [{"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}]
        with tarfile.open(archive, "w") as image:
            _add(image, name, description)
            _add(image, "manifest.json", json.dumps(manifest).encode())
            info = tarfile.TarInfo("layer.tar")
            info.size = layer.seek(0, io.SEEK_END)
            layer.seek(0)
            image.addfile(info, layer)


def _make_python(folder: Path) -> None:
    programs.install(programs.IMAGE_PACKAGES)
    root = folder / "root"
    bootstrap = ("debootstrap", "--variant=minbase", f"--include={PYTHON_PACKAGES}")
    programs.run(*bootstrap, PYTHON_SUITE, root)
    # As in the image that it stands for: `python` and `pip` are there, and pip may install.
    wheel = next((root / "usr/share/python-wheels").glob("pip-*.whl")).relative_to(root)
    for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    pip = ("python3", f"/{wheel}/pip", "install", "--no-index", "--no-compile", f"/{wheel}")
    programs.run("chroot", root, *pip)
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    # It has no bytecode of the standard library either.
    for cached in [*root.glob("usr/lib/python3.*/**/__pycache__")]:
        shutil.rmtree(cached)
    for name in UNNEEDED:
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir()
    for device in (root / "dev").iterdir():  # the runtime makes its own
        shutil.rmtree(device) if device.is_dir() and not device.is_symlink() else device.unlink()
    path = "PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
    config = {"Env": [path, "LANG=C.UTF-8"], "Cmd": ["python3"]}
    write_archive(root, PYTHON, folder / "image.tar", config)
    shutil.rmtree(root)


def _code() -> bytes:
    """This file is a part of the images' recipe."""
    return Path(__file__).read_bytes()


def _without_time(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.mtime = 0
    return info


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))
