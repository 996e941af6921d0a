"""Fetching and pushing against a hub on this machine, with real files and real hashes."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import FakeHub, serving

from ecmvae.errors import UserError
from ecmvae.hub.client import (
    HubAddress,
    cache_folder,
    check_sha256,
    fetch,
    is_offline,
    push,
    sha256_of,
)

FILES = ("small.txt", "large.bin", "absent.md")
HERE = HubAddress("someone/thing")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    folder = tmp_path / "original"
    folder.mkdir()
    (folder / "small.txt").write_text("few words")
    (folder / "large.bin").write_bytes(bytes(range(256)) * 200)
    (folder / "more.bin").write_bytes(b"x" * 20_000)
    with serving(monkeypatch, tmp_path / "cache") as hub:
        hub.add("someone/thing", folder)
        yield hub


def test_addresses() -> None:
    assert HubAddress.parse("hf://someone/thing") == HERE
    assert HubAddress.parse(str(Path("hf://someone/thing@v1.0"))) == HubAddress(
        "someone/thing", "v1.0"
    )
    assert [
        HubAddress.parse(text)
        for text in ("someone/thing", "hf://thing", "runs/demo/best", "hf://a/b/c")
    ] == [None] * 4
    assert HubAddress.parse(str(HubAddress("a/b", "c"))) == HubAddress("a/b", "c")


def test_fetched_once_then_kept(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetch(HERE, FILES)
    assert (folder / "small.txt").read_text() == "few words"
    assert sha256_of(folder / "large.bin") == sha256_of(tmp_path / "original" / "large.bin")
    # more.bin was not asked for
    assert sorted(path.name for path in folder.iterdir()) == ["large.bin", "small.txt"]
    assert cache_folder() in folder.parents

    hub.requests.clear()
    assert fetch(HERE, FILES, local_only=True) == folder
    monkeypatch.setenv("ECMVAE_OFFLINE", "1")
    assert is_offline()
    assert fetch(HERE, FILES) == folder
    assert hub.requests == []
    monkeypatch.delenv("ECMVAE_OFFLINE")
    # a commit never changes
    assert fetch(HubAddress("someone/thing", folder.name), FILES) == folder
    assert hub.requests == []


def test_offline_says_so(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"hf://someone/thing is not in .*offline mode forbids"):
        fetch(HERE, FILES)
    with pytest.raises(UserError, match="offline mode is on"):
        push(Path(), "someone/thing", FILES)
    assert hub.requests == []


def test_what_is_not_there_is_named(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="hub has no hf://someone/think"):
        fetch(HubAddress("someone/think"), FILES)
    with pytest.raises(UserError, match="no such revision: hf://someone/thing@v9"):
        fetch(HubAddress("someone/thing", "v9"), FILES)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    with pytest.raises(UserError, match="is there a network") as raised:
        fetch(HERE, FILES)
    assert "\n" not in str(raised.value)


def test_a_download_cut_short_is_no_download(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # the hub's library tries five times
    hub.cut_after = 30_000
    with pytest.raises(UserError, match="transfer of hf://someone/thing failed"):
        fetch(HERE, FILES)
    with pytest.raises(UserError, match="only partly in"):
        fetch(HERE, FILES, local_only=True)
    hub.cut_after = None
    assert (fetch(HERE, FILES) / "large.bin").stat().st_size == 256 * 200


def test_another_content_of_the_same_length_is_refused(hub: FakeHub) -> None:
    hub.swapped = bytes(256 * 200)
    with pytest.raises(
        UserError, match=r"large.bin is damaged: its SHA-256 is \w{12}..., not \w{12}"
    ):
        fetch(HERE, FILES)


def test_pushed_and_fetched_again(hub: FakeHub, tmp_path: Path) -> None:
    original = tmp_path / "original"
    address = push(original, "someone/new", ("small.txt", "large.bin"), token="hf_none")
    assert address == f"{hub.url}/someone/new/commit/{hub.commit('someone/new')}"
    again = fetch(HubAddress("someone/new"), FILES)
    assert {path.name: path.read_bytes() for path in again.iterdir()} == {
        name: (original / name).read_bytes() for name in ("small.txt", "large.bin")
    }
    (original / "small.txt").write_text("other words")
    push(
        original, "someone/new", ("small.txt", "more.bin"), new_only=("small.txt",), token="hf_none"
    )
    assert hub.files["someone/new"]["small.txt"] == b"few words"
    assert sorted(hub.files["someone/new"]) == ["large.bin", "more.bin", "small.txt"]


def test_a_full_disk_is_not_the_users_mistake(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    with pytest.raises(OSError, match="No space") as raised:
        fetch(HERE, FILES)
    assert not isinstance(raised.value, UserError)


def test_hashes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_text("abc")  # FIPS 180-2's example
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    check_sha256(tmp_path / "abc", known, "")
    with pytest.raises(UserError, match=r"abc is damaged.*: try again"):
        check_sha256(tmp_path / "abc", known.replace("b", "c"), "try again")
