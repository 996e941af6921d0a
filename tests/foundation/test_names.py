"""The table from AudioSet's names to prompts, and what users list."""

from pathlib import Path

import pytest

from ecmvae.errors import UserError
from ecmvae.foundation.names import (
    MOST_CONCEPTS,
    TABLE,
    find_vocabulary,
    parse_concepts,
    read_table,
)

# Facts of AudioSet's list, from its publication: 527 classes, "Speech" the first, "Field recording" the last.
FIRST, LAST, COUNT = "Speech", "Field recording", 527


def test_the_table_is_complete() -> None:
    table = read_table()
    assert (table[0].name, table[-1].name, len(table)) == (FIRST, LAST, COUNT)
    assert len({row.name for row in table}) == COUNT
    assert all(row.group for row in table)
    prompts = {row.prompt for row in table if row.prompt}
    assert len(prompts) <= MOST_CONCEPTS
    assert all(prompt == prompt.strip() and len(prompt.split()) <= 6 for prompt in prompts)
    by_name = {row.name: row for row in table}
    assert by_name["Bow-wow"].prompt == by_name["Bark"].prompt == "a dog"
    assert by_name["Silence"].prompt == by_name["Reverberation"].prompt == ""
    assert "CC BY 4.0" in TABLE.read_text("utf-8")


def test_a_tagger_names_what_can_be_seen() -> None:
    names = ("Bark", "Silence", "Bow-wow", "Acoustic guitar", "A sound of my own")
    vocabulary = find_vocabulary(names)
    assert vocabulary.prompts == ("a dog", "a guitar", "a sound of my own")
    assert vocabulary.members == ((0, 2), (3,), (4,))
    chosen = find_vocabulary(names, ("the Dog", "guitar", "animals"))
    assert chosen.prompts == ("the Dog", "guitar", "animals")  # looked for as the user says it
    assert chosen.members == ((0, 2), (3,), (0, 2))
    assert find_vocabulary(("Chicken, rooster",), ("rooster",)).members == ((0,),)
    anything = find_vocabulary((), ("a zebra",))
    assert (anything.prompts, anything.members) == (("a zebra",), None)
    assert len(find_vocabulary(()).prompts) == len(
        {row.prompt for row in read_table() if row.prompt}
    )


def test_what_no_tagger_knows() -> None:
    with pytest.raises(UserError, match=r"no name for 'a dogg': nearest are dog\b"):
        find_vocabulary(("Bark", "Meow"), ("a dogg",))
    with pytest.raises(UserError, match="concepts:clap\\+clipseg listens for any text"):
        find_vocabulary(("Bark",), ("xyzzy",))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "words with commas"),
        ("dog,,cat", "words with commas"),
        ("dog\x1b[2J", "not text"),
        ("dog\u202egod", "not text"),
        ("dog, a dog", "there twice"),
        ("d" * 200, "longer than 100"),
        (",".join(f"thing {k}" for k in range(255)), "at most 254"),
    ],
)
def test_concepts_that_cannot_be_used(text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as raised:
        parse_concepts(text)
    assert str(raised.value).isprintable()


def test_users_edit_the_table(tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text('# mine\nname,prompt,group\nBark,"a big, black dog",animals\nPurr,,animals\n')
    assert find_vocabulary(("Bark", "Purr"), table=read_table(mine)).prompts == (
        "a big, black dog",
    )
    for text, complaint in (
        ("name,prompt\nBark,a dog\n", "first line must be name,prompt,group"),
        ("name,prompt,group\nBark,a dog\n", "row 2: needed are a name, a prompt and a group"),
        ("name,prompt,group\nBark,a dog\x07,animals\n", "row 2"),
        ("name,prompt,group\nBark,a dog,animals\nBark,a fox,animals\n", "names 'Bark' twice"),
        ("", "first line must be"),
    ):
        mine.write_text(text)
        with pytest.raises(UserError, match=complaint):
            read_table(mine)
    with pytest.raises(UserError, match="file not found"):
        read_table(tmp_path / "absent.csv")
