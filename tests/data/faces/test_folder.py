"""Faces on disk: CelebA's layout, and the factors beside the pixels."""

import csv

import numpy as np
import pytest
from PIL import Image

from ecmvae.cli import main
from ecmvae.data.faces.draw import draw_face
from ecmvae.data.faces.folder import sample_face, write_faces
from ecmvae.data.picture_folder import PictureFolder
from ecmvae.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("faces") / "new"
    assert main(["vae", "faces", str(out), "--count", "30", "--size", "32", "--seed", "3"]) == 0
    return out


def test_pictures_are_those_of_their_numbers(folder):
    files = sorted((folder / "img_align_celeba").iterdir())
    assert [file.name for file in files] == [f"{number:06d}.png" for number in range(1, 31)]
    for number, file in enumerate(files):
        assert np.array_equal(np.asarray(Image.open(file)), draw_face(*sample_face(3, number), 32))


def test_tables_say_what_was_drawn(folder):
    text = (folder / "list_attr_celeba.txt").read_text().splitlines()
    assert text[0] == "30"
    names = text[1].split()
    with (folder / "attributes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    for number, (line, row) in enumerate(zip(text[2:], rows, strict=True)):
        look, _ = sample_face(3, number)
        assert line.split() == [
            row["image_id"],
            *("1" if look.flags[name] else "-1" for name in names),
        ]
        assert {name: row[name] == "1" for name in names} == look.flags
        assert {name: row[name] for name in look.words} == look.words


def test_the_reader_of_picture_folders_gives_back_what_was_drawn(folder):
    reader = PictureFolder(folder, 32)
    assert [len(reader.names(split)) for split in ("train", "valid", "test")] == [24, 3, 3]
    looks = [sample_face(3, number)[0] for number in range(24, 27)]
    expected = np.stack([draw_face(*sample_face(3, number), 32) for number in range(24, 27)])
    assert np.array_equal(reader.images("valid").permute(0, 2, 3, 1).numpy(), expected)
    for name in looks[0].flags:
        column = reader.table("valid")[:, reader.attributes.index(name)]
        assert column.tolist() == [int(look.flags[name]) for look in looks]
    for name in looks[0].words:
        codes = reader.factors("valid")[:, reader.factor_names.index(name)].tolist()
        assert [reader.values_of(name)[code] for code in codes] == [
            look.words[name] for look in looks
        ]


def test_split_is_80_10_10(folder):
    splits = [
        line.split()[1] for line in (folder / "list_eval_partition.txt").read_text().splitlines()
    ]
    assert splits == ["0"] * 24 + ["1"] * 3 + ["2"] * 3


def test_a_longer_run_begins_with_the_shorter_one(folder, tmp_path):
    write_faces(tmp_path / "few", 4, size=32, seed=3)
    for number in range(1, 5):
        name = f"img_align_celeba/{number:06d}.png"
        assert (tmp_path / "few" / name).read_bytes() == (folder / name).read_bytes()


def test_a_full_folder_stays_as_it_is(folder, capsys):
    before = sorted(folder.rglob("*"))
    assert main(["vae", "faces", str(folder), "--count", "3"]) == 2
    assert "exists: choose a new folder" in capsys.readouterr().err
    with pytest.raises(UserError, match="exists"):
        write_faces(folder, 3)
    assert sorted(folder.rglob("*")) == before


def test_nothing_is_left_of_a_run_that_failed(tmp_path):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_faces(tmp_path / "faces", 3, size=32, advance=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [["--count", "0"], ["--size", "7"], ["--size", "4096"], ["--seed", "-1"], ["--count", "many"]],
)
def test_bad_options_are_one_line(words, tmp_path, capsys):
    assert main(["vae", "faces", str(tmp_path / "out"), *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
