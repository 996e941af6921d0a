"""Files, folders, globs and lists as a plain list of videos."""

from pathlib import Path

import pytest

from ecmvae.errors import UserError
from ecmvae.prediction.sources import Source, resolve_sources


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "a.mp4",
        "b.MOV",
        "deep/c.mkv",
        "deep/notes.md",
        ".hidden.mp4",
        "a.overlay.mp4",
        "odd[1].mp4",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def labels(sources: list[Source]) -> list[str]:
    return [str(source.label) for source in sources]


def test_a_file_is_taken_as_it_is(tree: Path) -> None:
    assert resolve_sources([str(tree / "deep/notes.md")]) == [
        Source(tree / "deep/notes.md", Path("notes"))
    ]


def test_a_folder_is_searched_and_its_structure_kept(tree: Path) -> None:
    assert labels(resolve_sources([str(tree)], leave_out=[".overlay.mp4"])) == [
        "a",
        "b",
        "deep/c",
        "odd[1]",
    ]


def test_globs(tree: Path) -> None:
    assert labels(resolve_sources([str(tree / "?.*")], leave_out=[".overlay.mp4"])) == ["a", "b"]
    assert labels(resolve_sources([str(tree / "**/*.mkv")])) == ["c"]
    # a file of that name wins
    assert labels(resolve_sources([str(tree / "odd[1].mp4")])) == ["odd[1]"]


def test_lists_are_relative_to_themselves(tree: Path) -> None:
    (tree / "deep/list.txt").write_text(
        f"# ours\n\n../a.mp4\n  c.mkv  \n{tree / 'b.MOV'}\n../a.mp4\n"
    )
    assert [source.path.name for source in resolve_sources([str(tree / "deep/list.txt")])] == [
        "a.mp4", "c.mkv", "b.MOV",
    ]  # fmt: skip


def test_equal_stems_keep_their_suffix(tree: Path) -> None:
    (tree / "a.webm").touch()
    assert labels(resolve_sources([str(tree / "a.mp4"), str(tree / "a.webm")])) == [
        "a.mp4",
        "a.webm",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("*.xyz", "no file matches"),
        ("empty", "no video in the folder"),
        ("void.txt", "lists no video"),
    ],
)
def test_names_that_match_nothing(tree: Path, name: str, message: str) -> None:
    (tree / "empty").mkdir()
    (tree / "void.txt").write_text("# nothing\n")
    with pytest.raises(UserError, match=message):
        resolve_sources([str(tree / name)])


def test_files_that_are_not_lists(tree: Path) -> None:
    (tree / "binary.txt").write_bytes(b"\xff\xfe\x00")
    (tree / "loop.txt").write_text("loop.txt\n")
    with pytest.raises(UserError, match="not UTF-8"):
        resolve_sources([str(tree / "binary.txt")])
    with pytest.raises(UserError, match="another list"):
        resolve_sources([str(tree / "loop.txt")])


def test_equal_names_are_told_apart_by_their_folders(tree: Path) -> None:
    for name in ("deep/a.mp4", "deep/er/a.mp4", "deep/er/a.webm"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).touch()
    (tree / "deep/list.txt").write_text(f"a.mp4\n{tree / 'a.mp4'}\ner/a.mp4\nc.mkv\n")
    assert labels(resolve_sources([str(tree / "deep/list.txt")])) == [
        "deep/a",
        "a",
        "deep/er/a",
        "c",
    ]
    names = [str(tree / name) for name in ("deep/er/a.mp4", "deep/a.mp4", "deep/er/a.webm")]
    assert labels(resolve_sources(names)) == ["er/a", "a.mp4", "a.webm"]


def test_outputs_that_would_have_one_name_are_refused(tree: Path) -> None:
    for name in ("x.mp4.mp4", "x.mp4", "x.webm"):
        (tree / name).touch()
    with pytest.raises(UserError, match="different folders"):
        resolve_sources([str(tree / name) for name in ("x.mp4.mp4", "x.mp4", "x.webm")])


def test_a_list_with_missing_and_repeated_entries(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is missing stays in the list, to fail when its turn comes; every spelling of a file counts once."""
    entries = [
        "a.mp4",
        "gone.mp4",
        "gone*.mp4",
        "empty",
        "./a.mp4",
        "deep/../a.mp4",
        str(tree / "a.mp4"),
    ]
    (tree / "empty").mkdir()
    (tree / "list.txt").write_text("\n".join(entries))
    assert labels(resolve_sources([str(tree / "list.txt")])) == ["a", "gone", "gone*", "empty"]
    assert caplog.messages == ["3 of 7 sources name a video again: it is done once"]


def test_what_may_not_be_entered_is_one_line(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", deny)
    with pytest.raises(UserError, match="Permission denied"):
        resolve_sources([str(tree / "a.mp4")])


def test_a_name_too_long_for_a_file_fails_when_its_turn_comes(tree: Path) -> None:
    (tree / "list.txt").write_text(f"a.mp4\n{'x' * 300}.mp4\n")
    assert labels(resolve_sources([str(tree / "list.txt")])) == ["a", "x" * 300]
    with pytest.raises(UserError, match=r"cannot read .*File name too long"):
        resolve_sources([str(tree / f"{'x' * 300}.mp4")])
