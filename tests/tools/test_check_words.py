"""The list of words that read as translated: what it finds, and that the project is free of them."""

from pathlib import Path

import pytest
from check_words import INSTEAD, hits, main


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("It is drawn anew.", "again"),
        ("x\nThis folder is no checkpoint: choose another", "is not a ..."),
        ("Who has only the videos makes the rest:", "if you have, want, need ..."),
        ("Its weights were not At Hand", "available"),
    ],
)
def test_what_is_found(text: str, instead: str) -> None:
    ((line, _, suggestion),) = hits(text)
    assert (line, suggestion) == (len(text.splitlines()), instead)


def test_plain_sentences_pass() -> None:
    assert (
        hits("There is no number that fits. The person who has it, once renewed, handed it over.")
        == []
    )
    assert len(INSTEAD) > 20


def test_a_hit_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("fine\nwhoever reads this\n")
    assert main([str(page)]) == 1
    assert capsys.readouterr().out == f"{page}:2: 'whoever': write 'anyone who'\n"


def test_the_project_is_free_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0, capsys.readouterr().out
