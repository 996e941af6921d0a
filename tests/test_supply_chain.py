"""What `make setup` installs: every version is pinned with hashes, fits pyproject.toml, and names no index."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.txt", "tools/installer.txt")


def pins(name: str) -> dict[str, tuple[Requirement, int]]:
    """Package -> its requirement and its number of hashes."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    parsed = [
        (Requirement(re.sub(r"--hash=\S+", "", line).strip()), line.count("--hash=sha256:"))
        for line in lines
    ]
    return {
        canonicalize_name(requirement.name): (requirement, hashes) for requirement, hashes in parsed
    }


def wanted(project: dict, extras: list[str]) -> list[Requirement]:
    """The requirements of the package with some extras, those that extras name in turn included."""
    found = [Requirement(each) for each in project["dependencies"]]
    for extra in extras:
        for each in map(Requirement, project["optional-dependencies"][extra]):
            found += wanted(project, sorted(each.extras)) if each.name == "ecmvae" else [each]
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_an_exact_version_and_hashes(name: str) -> None:
    found = pins(name)
    assert found
    for requirement, hashes in found.values():
        assert [each.operator for each in requirement.specifier] == ["=="], requirement
        assert hashes > 0, requirement


@pytest.mark.parametrize("name", LOCKS)
def test_no_index_is_named(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"https?:|--(extra-)?index-url|--find-links", text)


def test_the_pinned_versions_satisfy_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = pins("requirements.txt")
    requirements = wanted(project, ["all", "dev"])
    assert len(requirements) > 50
    for requirement in requirements:
        pinned = found[canonicalize_name(requirement.name)][0]
        (version,) = (each.version for each in pinned.specifier)
        assert requirement.specifier.contains(version), requirement


def test_a_wrong_hash_is_refused(tmp_path: Path) -> None:
    """The installer that `make setup` uses, with a package of our own."""
    wheel = tmp_path / "nothing-1.0-py3-none-any.whl"
    build = "import sys, zipfile\nwith zipfile.ZipFile(sys.argv[1], 'w') as file:\n"
    for name, text in (
        ("METADATA", "Metadata-Version: 2.1\\nName: nothing\\nVersion: 1.0\\n"),
        ("WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"),
        ("RECORD", ""),
    ):
        build += f"    file.writestr('nothing-1.0.dist-info/{name}', '{text}')\n"
    subprocess.run([sys.executable, "-c", build, str(wheel)], check=True)
    lock = tmp_path / "lock.txt"
    lock.write_text(f"nothing==1.0 --hash=sha256:{'0' * 64}\n")
    command = [
        str(Path(sys.executable).with_name("uv")),
        "pip",
        "install",
        "--require-hashes",
        "--no-index",
    ]
    options = [
        "--find-links",
        str(tmp_path),
        "--target",
        str(tmp_path / "out"),
        "--no-cache",
        "-r",
        str(lock),
    ]
    ended = subprocess.run([*command, *options], capture_output=True, text=True)
    assert ended.returncode != 0
    assert "Hash mismatch" in ended.stderr
    assert not (tmp_path / "out" / "nothing-1.0.dist-info").exists()


def test_the_licences_of_what_is_installed_are_on_the_list() -> None:
    """And one that is not is refused: with an empty list of exceptions, NVIDIA's are."""
    program = [str(Path(sys.executable).with_name("pip-licenses")), f"--python={sys.executable}"]
    assert subprocess.run(program, capture_output=True, cwd=ROOT).returncode == 0
    strict = subprocess.run(
        [*program, "--from=mixed", "--allow-only=MIT"], capture_output=True, cwd=ROOT
    )
    assert strict.returncode != 0
