"""Folders of pictures drawn here: what is read is what was drawn, and every fault is one line."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from ecmvae.data import picture_files, picture_folder
from ecmvae.data.picture_files import read_picture
from ecmvae.data.picture_folder import PictureFolder
from ecmvae.errors import UserError


def draw(path, colour, size=(8, 8), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(colour, int) else "RGB", size, colour).save(path, **options)


@pytest.fixture
def celeba(tmp_path):
    """Ten pictures in CelebA's layout; picture k has the grey level 20 k; odd ones smile, the first three wear hats."""
    for number in range(10):
        draw(tmp_path / "img_align_celeba" / f"{number:06}.png", (20 * number,) * 3)
    rows = [f"{k:06}.png {1 if k % 2 else -1:2d}  {1 if k < 3 else -1:2d}" for k in range(10)]
    (tmp_path / "list_attr_celeba.txt").write_text("\n".join(["10", "Smiling Wearing_Hat", *rows]))
    splits = [f"{k:06}.png {0 if k < 6 else 1 if k < 8 else 2}" for k in range(10)]
    (tmp_path / "list_eval_partition.txt").write_text("\n".join(splits))
    return tmp_path


def test_celebas_layout(celeba):
    folder = PictureFolder(celeba, 4)
    assert folder.attributes == ["Smiling", "Wearing_Hat"]
    images = folder.images("train")
    assert (images.dtype, tuple(images.shape)) == (torch.uint8, (6, 3, 4, 4))
    assert images.float().mean((1, 2, 3)).tolist() == [20 * k for k in range(6)]
    assert folder.names("valid") == ["000006.png", "000007.png"]
    assert folder.table("train").tolist() == [[k % 2, int(k < 3)] for k in range(6)]
    assert folder.table("test").tolist() == [[0, 0], [1, 0]]
    assert folder.factors("all").tolist() == [[k % 2, int(k < 3)] for k in range(10)]
    assert len(folder.images("all")) == 10


def test_words_become_one_column_for_each_value(tmp_path):
    for name in ("a", "b", "c"):
        draw(tmp_path / f"{name}.png", 9)
    (tmp_path / "attributes.csv").write_text(
        "image_id,Hair,Top,Age\nc.png,red,1,10\na.png,no hair,0,9\nb.png,red,1,10\nmissing.png,red,0,8\n"
    )
    (tmp_path / "list_eval_partition.csv").write_text(
        "image_id,partition\na.png,0\nb.png,0\nc.png,0\n"
    )
    folder = PictureFolder(tmp_path)
    assert folder.attributes == ["Hair=no hair", "Hair=red", "Top", "Age=8", "Age=9", "Age=10"]
    assert folder.table("train").tolist() == [
        [1, 0, 0, 0, 1, 0],
        [0, 1, 1, 0, 0, 1],
        [0, 1, 1, 0, 0, 1],
    ]
    assert folder.factor_names == ["Hair", "Top", "Age"]
    assert folder.factors("train").tolist() == [[0, 0, 1], [1, 1, 2], [1, 1, 2]]
    assert folder.values_of("Hair") == ("no hair", "red")


def test_tables_are_joined_and_the_first_one_wins(celeba):
    rows = [f"{k:06}.png,0,{'abc'[k % 3]}" for k in range(10)]
    (celeba / "attributes.csv").write_text("\n".join(["image_id,Smiling,Pose", *rows]))
    folder = PictureFolder(celeba)
    assert folder.factor_names == ["Smiling", "Wearing_Hat", "Pose"]
    assert folder.factors("all").tolist() == [[k % 2, int(k < 3), k % 3] for k in range(10)]


def test_sub_folders_are_classes(tmp_path):
    for name in ("cats/1", "cats/deep/2", "dogs/1"):
        draw(tmp_path / f"{name}.png", 9)
    folder = PictureFolder(tmp_path)
    assert folder.attributes == ["folder=cats", "folder=dogs"]
    assert folder.names("all")[0].count("/") >= 1
    labels = dict(zip(folder.names("all"), folder.factors("all")[:, 0].tolist(), strict=True))
    assert labels == {"cats/1.png": 0, "cats/deep/2.png": 0, "dogs/1.png": 1}


def test_the_split_without_a_partition_covers_everything_and_is_stable(tmp_path):
    for number in range(40):
        draw(tmp_path / f"{number}.png", 9)
    folder = PictureFolder(tmp_path)
    parts = [folder.names(split) for split in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [32, 4, 4]
    assert sorted(name for part in parts for name in part) == sorted(f"{k}.png" for k in range(40))
    assert PictureFolder(tmp_path).names("test") == parts[2]
    draw(tmp_path / "new.png", 9)
    assert len(set(parts[2]) & set(PictureFolder(tmp_path).names("test"))) >= 3


@pytest.mark.parametrize(("count", "sizes"), [(1, [1, 0, 0]), (2, [1, 0, 1]), (3, [1, 1, 1])])
def test_a_few_pictures_leave_some_to_train_on(tmp_path, count, sizes):
    for number in range(count):
        draw(tmp_path / f"{number}.png", 9)
    folder = PictureFolder(tmp_path)
    assert [len(folder.images(split)) for split in ("train", "valid", "test")] == sizes


def test_the_central_square_is_resized_with_antialiasing(tmp_path):
    wide = np.zeros((8, 24), np.uint8)
    wide[:, 8:16] = np.where(np.indices((8, 8)).sum(0) % 2, 255, 0)  # the middle: a checkerboard
    Image.fromarray(wide).save(tmp_path / "wide.png")
    pixels = read_picture(tmp_path / "wide.png", 4, 1)
    assert pixels.shape == (4, 4, 1)
    assert np.abs(pixels.astype(int) - 127).max() <= 20  # nearest pixels would be 0 or 255
    same = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(same).save(tmp_path / "same.png")
    assert (read_picture(tmp_path / "same.png", 8, 3) == same).all()


def test_grey_stays_grey_unless_a_picture_has_colour(tmp_path):
    draw(tmp_path / "a.png", 100)
    assert PictureFolder(tmp_path, 4).images("train").shape == (1, 1, 4, 4)
    draw(tmp_path / "b.png", (255, 0, 0))
    mixed = PictureFolder(tmp_path, 4)
    assert mixed.channels == 3
    means = dict(
        zip(mixed.names("all"), mixed.images("all").float().mean((2, 3)).tolist(), strict=True)
    )
    assert means == {"a.png": [100, 100, 100], "b.png": [255, 0, 0]}
    grey = PictureFolder(tmp_path, 4, grey=True).images("all").flatten().unique().tolist()
    assert grey == [76, 100]  # 0.299 of 255


def test_other_modes(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_picture(tmp_path / "clear.png", 4, 3) == 255).all()
    Image.fromarray(np.full((4, 4), 0x8012, np.uint16)).save(tmp_path / "deep.png")
    assert (read_picture(tmp_path / "deep.png", 4, 1) == 0x80).all()
    turned = Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 2, 0)).resize((64, 64), 0)
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    turned.save(tmp_path / "turned.jpg", exif=exif)
    pixels = read_picture(tmp_path / "turned.jpg", 4, 1)
    assert pixels[0, 0, 0] > 250
    assert pixels[0, 3, 0] < 5


def test_a_broken_picture_is_named_and_the_rest_goes_on(celeba, caplog):
    (celeba / "img_align_celeba" / "000002.png").write_bytes(b"\x89PNG cut")
    folder = PictureFolder(celeba, 4)
    with caplog.at_level(logging.WARNING):
        assert len(folder.images("train")) == 5
    assert "000002.png cannot be read as a picture" in caplog.text
    assert folder.names("train") == [f"{k:06}.png" for k in (0, 1, 3, 4, 5)]
    assert folder.table("train")[:, 0].tolist() == [0, 1, 1, 0, 1]
    for each in (celeba / "img_align_celeba").iterdir():
        each.write_text("no picture")
    with pytest.raises(UserError, match=r"none of the 6 pictures \(train\) can be read"):
        PictureFolder(celeba).images("train")


def test_pictures_without_a_row_are_left_out(celeba, caplog):
    draw(celeba / "img_align_celeba" / "extra.png", 9)
    assert len(PictureFolder(celeba).names("all")) == 10
    assert "1 of 11 pictures have no row" in caplog.text


def test_attributes_by_name(celeba):
    folder = PictureFolder(celeba)
    assert folder.attribute("Smiling", "train").tolist() == [False, True] * 3
    with pytest.raises(UserError, match="has no attribute 'smilling': did you mean Smiling"):
        folder.attribute("smilling", "train")
    with pytest.raises(
        UserError, match=r"none of the 2 pictures \(test\) in .* have the attribute Wearing_Hat"
    ):
        folder.attribute("Wearing_Hat", "test")


def test_limit_and_memory(celeba, monkeypatch):
    folder = PictureFolder(celeba, limit=3)
    assert [len(folder.images(split)) for split in ("train", "valid", "test")] == [3, 2, 2]
    monkeypatch.setattr(picture_folder, "MAX_BYTES", 1000)
    with pytest.raises(UserError, match=r"need .* GB of memory"):
        PictureFolder(celeba).images("train")
    monkeypatch.setattr(picture_files, "MAX_PIXELS", 63)
    with pytest.raises(UserError, match="8 x 8 pixels, more than"):
        read_picture(celeba / "img_align_celeba" / "000001.png", 4, 3)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no pictures"),
        ({"attributes.csv": ""}, "holds no pictures"),
        ({"a.png": 1, "attributes.csv": ""}, "has no columns"),
        ({"a.png": 1, "attributes.csv": "image_id\na.png\n"}, "has no columns"),
        ({"a.png": 1, "attributes.csv": "image_id,A\nb.png,1\n"}, "describe none of its pictures"),
        (
            {"a.png": 1, "attributes.csv": "image_id,A\na.png,nan\n"},
            "line 2: A is 'nan': fill the cell in",
        ),
        ({"a.png": 1, "attributes.csv": "image_id,A\na.png,\n"}, "line 2: A is ''"),
        (
            {"a.png": 1, "attributes.csv": "image_id,A\na.png,1,2\n"},
            "line 2: has 2 values for 1 attributes",
        ),
        (
            {"a.png": 1, "attributes.csv": "image_id,A\na.png,1\na.png,1\n"},
            "line 3: 'a.png' has a row already",
        ),
        (
            {"a.png": 1, "attributes.csv": "image_id,A,A\na.png,1,1\n"},
            "the column 'A' is there twice",
        ),
        ({"a.png": 1, "attributes.csv": b"\xff\xfe"}, "not UTF-8"),
        (
            {"a.png": 1, "attributes.csv": "image_id," + ",".join(f"c{k}" for k in range(1001))},
            "1001 columns",
        ),
        (
            {"a.png": 1, "list_attr_celeba.txt": "Smiling\na.png 1\n"},
            "line 1: must hold the number of pictures",
        ),
        ({"a.png": 1, "list_eval_partition.txt": "a.png 7\n"}, "line 1: '7' is not a split"),
        ({"a.png": 1, "list_eval_partition.txt": "a.png 1\n"}, "leaves no training pictures"),
        (
            {"a.png": 1, "attributes.csv": "image_id,A\na.png," + "x" * 200_000},
            "line 2: is not valid csv",
        ),
    ],
)
def test_faults_are_one_line(tmp_path, files, message):
    for name, content in files.items():
        if isinstance(content, int):
            draw(tmp_path / name, content)
        else:
            (tmp_path / name).write_bytes(
                content if isinstance(content, bytes) else content.encode()
            )
    with pytest.raises(UserError, match=message) as caught:
        PictureFolder(tmp_path).images("train")
    assert "\n" not in str(caught.value)


def test_wrong_folders_and_sizes(tmp_path):
    with pytest.raises(UserError, match="is not a folder of pictures"):
        PictureFolder(tmp_path / "none")
    with pytest.raises(UserError, match="size must be from 4 to 1024"):
        PictureFolder(tmp_path, 10**9)


def test_a_column_of_very_many_values_is_left_out(tmp_path, caplog):
    rows = []
    for number in range(101):
        draw(tmp_path / f"{number}.png", 9)
        rows.append(f"{number}.png,{number},{number % 2}")
    (tmp_path / "attributes.csv").write_text("\n".join(["image_id,Serial,Odd", *rows]))
    assert PictureFolder(tmp_path).attributes == ["Odd"]
    assert "Serial (101 different values)" in caplog.text


def test_views_of_the_same_things_are_paired_by_name(tmp_path, caplog):
    for number in range(10):
        draw(tmp_path / "front" / f"{number}.png", 10 * number)
        draw(tmp_path / "side" / f"{number}.png", 100 + 10 * number, size=(6, 9))
    draw(tmp_path / "front" / "alone.png", 9)
    rows = [f"{number}.png,{number % 2}" for number in range(10)]
    (tmp_path / "attributes.csv").write_text("\n".join(["image_id,Odd", *rows]))
    folder = PictureFolder(tmp_path, 4, views=["front", "side"])
    assert "1 of 11 pictures lack a view" in caplog.text
    images = folder.images("all")
    assert images.shape == (10, 2, 1, 4, 4)
    numbers = torch.tensor([int(name.removesuffix(".png")) for name in folder.names("all")])
    assert torch.equal(images[:, 0, 0, 0, 0], (10 * numbers).byte())
    assert torch.equal(images[:, 1, 0, 0, 0], (100 + 10 * numbers).byte())
    assert torch.equal(folder.table("all")[:, 0], (numbers % 2).byte())
    (tmp_path / "side" / "3.png").write_text("broken")
    assert "3.png" not in PictureFolder(tmp_path, 4, views=["front", "side"]).names("all")
    draw(tmp_path / "other" / "x.png", 1)
    with pytest.raises(UserError, match="no name of a picture is in all of"):
        PictureFolder(tmp_path, views=["front", "other"])
