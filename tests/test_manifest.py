"""Rows of finished files: appended, read back by every shard, repaired, and refused where they are not of this run."""

import json
import logging
import os
import signal
from pathlib import Path

import pytest

from ecmvae import manifest as module
from ecmvae.errors import UserError
from ecmvae.manifest import Manifest, journal_path, manifest_files, read_rows, source_name
from ecmvae.shards import Shard

SAME = {"settings": {"fps": 4.0, "threshold": 0.5}, "weights": "ab" * 32}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out" / "manifest.jsonl"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    (tmp_path / "dog.mp4").write_bytes(b"frames")
    return tmp_path / "dog.mp4"


def test_a_row_says_what_was_done_with_what(path: Path, video: Path) -> None:
    with Manifest(path, SAME) as manifest:
        manifest.append(video, "done", frames=12)
    (line,) = path.read_text().splitlines()
    row = json.loads(line)
    assert row["source"] == str(video)
    assert (row["status"], row["error"], row["bytes"], row["frames"]) == ("done", "", 6, 12)
    assert row["modified"] == video.stat().st_mtime_ns
    assert {name: row[name] for name in SAME} == SAME
    assert row["version"] == "0.1.0"
    assert row["finished"].endswith("+00:00")


def test_every_shard_knows_what_the_others_finished(path: Path, video: Path) -> None:
    with Manifest(path, SAME, shard=Shard(3, 64)) as third:
        third.append(video, "done", frames=12)
        with Manifest(path, SAME, shard=Shard(4, 64)) as fourth:
            assert fourth.known(video)["frames"] == 12
            fourth.append(video, "failed", "broken")
    assert [each.name for each in manifest_files(path)] == [
        "manifest.3-of-64.jsonl",
        "manifest.4-of-64.jsonl",
    ]
    (path.parent / "manifest.masks.jsonl").write_text("a video's masks\n")  # is none of them
    with Manifest(path, SAME) as manifest:
        # the last one counts, whichever file it is in
        assert manifest.known(video)["status"] == "failed"
        assert len(manifest_files(path)) == 3


def test_a_file_that_changed_is_not_known(path: Path, video: Path) -> None:
    with Manifest(path, SAME) as manifest:
        manifest.append(video, "done")
        video.write_bytes(b"better frames")
        assert manifest.known(video) is None
        assert source_name(video) in manifest.rows
        manifest.append(video, "done")
        video.unlink()  # to save space, once it is done
        assert manifest.known(video)["status"] == "done"
        manifest.append(video.with_name("late.mp4"), "failed", "does not exist")
        video.with_name("late.mp4").touch()
        assert manifest.known(video.with_name("late.mp4")) is None


def test_names_that_are_not_utf_8(path: Path, tmp_path: Path) -> None:
    video = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    video.touch()
    with Manifest(path, SAME) as manifest:
        manifest.append(video, "failed", f"bad: {video}", outputs=[str(video)])
    with Manifest(path, SAME) as manifest:
        assert manifest.known(video)["status"] == "failed"
    assert json.loads(path.read_bytes())["source"].endswith("caf\\xe9.mp4")


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_an_unfinished_last_line_is_dropped_and_said(
    path: Path, video: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    with Manifest(path, SAME) as manifest:
        manifest.append(video, "done")
        manifest.append(video.with_name("cat.mp4"), "done")
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with caplog.at_level(logging.WARNING, "ecmvae"), Manifest(path, SAME) as manifest:
        assert list(manifest.rows) == [str(video)]
        assert manifest.torn == {str(video.with_name("cat.mp4"))}
        manifest.append(video.with_name("cat.mp4"), "done")
        assert not manifest.torn
    (said,) = caplog.messages
    assert "its last line was not finished when its process ended: dropped" in said
    assert [row["source"] for row in read_rows(path)] == [
        str(video),
        str(video.with_name("cat.mp4")),
    ]


def test_another_shards_unfinished_line_is_left_alone(path: Path, video: Path) -> None:
    """It may be writing it just now."""
    with Manifest(path, SAME, shard=Shard(1, 2)) as first:
        first.append(video, "done")
    with first.path.open("a") as file:
        file.write('{"source": "/x')
    before = first.path.read_bytes()
    with Manifest(path, SAME, shard=Shard(2, 2)) as second:
        assert list(second.rows) == [str(video)]
    assert first.path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n', "line 1 of .*manifest.jsonl is not a row of a manifest of ecmvae"),
        (b"[1]\n", "line 1 of .* is not a row"),
        (b'{"source": 3, "status": "done", "finished": "x"}\n', "line 1 of .* is not a row"),
        (b"\xff\xfe\n", r"line 1 of .* is damaged \(it is not UTF-8\)"),
        (b"[" * 300 + b"\n", "line 1 of .* is not valid JSON"),
        (b'{"source": "a", "x": ' + b"9" * 500 + b"}\n", "line 1 of .* is not valid JSON"),
        (b"a" * 2_000_000 + b"\n", "line 1 of .* is too long for a manifest's"),
        (b"\0\0\0\x18ftypmp42", "is not a manifest of ecmvae"),  # a video without a line feed
    ],
)
def test_what_is_not_a_manifest_is_refused_and_stays_as_it_is(
    path: Path, content: bytes, message: str
) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as raised:
        Manifest(path, SAME)
    assert len(str(raised.value)) < 600
    assert "\n" not in str(raised.value)
    assert path.read_bytes() == content


def test_a_line_damaged_in_the_middle_is_named(path: Path, video: Path) -> None:
    with Manifest(path, SAME) as manifest:
        for number in range(3):
            manifest.append(video.with_name(f"{number}.mp4"), "done")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:50] + b"\n" + lines[2])
    with pytest.raises(
        UserError, match=r"line 2 of .*: correct it, or remove the line, and its file is done again"
    ):
        Manifest(path, SAME)
    path.write_bytes(lines[0] + lines[2])
    with Manifest(path, SAME) as manifest:
        assert len(manifest.rows) == 2


def test_a_huge_manifest_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(module.MAX_BYTES + 1)
    with pytest.raises(UserError, match=r"is not a manifest|larger than 1000 MB"):
        Manifest(path, SAME)
    with pytest.raises(
        UserError, match="larger than 1000 MB, the limit of a manifest: is it the right file"
    ):
        list(read_rows(path))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({**SAME, "weights": "cd" * 32}, "was done with weights 'abab.*not 'cdcd"),
        (
            {**SAME, "settings": {"fps": 4.0, "threshold": 0.3}},
            "was done with threshold 0.5, not 0.3: use",
        ),
        (
            {**SAME, "settings": {**SAME["settings"], "half": True}},
            "was done with half None, not True",
        ),
    ],
)
def test_rows_of_other_settings_are_refused_or_with_force_not_counted(
    path: Path, video: Path, other: dict[str, object], message: str
) -> None:
    with Manifest(path, SAME, shard=Shard(1, 2)) as manifest:
        manifest.append(video, "done")
    with pytest.raises(UserError, match=message):
        Manifest(path, other)
    with Manifest(path, other, force=True) as manifest:
        assert manifest.known(video) is None
        manifest.append(video, "done")
    with Manifest(
        path, other
    ) as manifest:  # the older row of the same file does not count any more
        assert manifest.known(video)


def test_two_processes_never_write_one_manifest(path: Path) -> None:
    with (
        Manifest(path, SAME),
        pytest.raises(UserError, match=r"manifest.jsonl is being written by another process"),
    ):
        Manifest(path, SAME)
    Manifest(path, SAME).__exit__(None, None, None)


def test_a_killed_process_lets_go_and_its_rows_stay(path: Path, video: Path) -> None:
    child = os.fork()
    if child == 0:
        manifest = Manifest(path, SAME)
        manifest.append(video, "done")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    with Manifest(path, SAME) as manifest:
        assert manifest.known(video)


def test_what_a_killed_runs_workers_finished_is_taken_over_once(path: Path, video: Path) -> None:
    with Manifest(path, SAME) as manifest:
        with Manifest(journal_path(path, 1), SAME, alone=True) as journal:
            row = journal.append(video, "done", frames=3)
            journal.append(video.with_name("cat.mp4"), "done", frames=4)
        manifest.append_row(row)  # the driver heard of the first only
    with Manifest(path, SAME) as manifest:
        assert {each["frames"] for each in manifest.rows.values()} == {3, 4}
    assert [each.name for each in path.parent.iterdir()] == ["manifest.jsonl"]
    assert [each["frames"] for each in read_rows(path)] == [3, 4]


def test_where_no_manifest_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe.jsonl")
    for name in ("folder.jsonl", "file/manifest.jsonl", "pipe.jsonl", "x" * 300 + ".jsonl"):
        with pytest.raises(UserError, match=r"cannot write the manifest|cannot be read") as raised:
            Manifest(tmp_path / name, SAME)
        assert "\n" not in str(raised.value)
