"""Folds: every picture and recording is held out exactly once over all folds, and no class is left with nothing."""

from collections import Counter
from pathlib import Path

import pytest
from collage_fixture import CLASSES, make_sources

from ecmvae.config import config_from_dict, load_config
from ecmvae.data.collage.clips import CollageClips
from ecmvae.data.collage.folds import NEVER_HELD_OUT, check_fold, deal, never_held_out
from ecmvae.data.collage.items import FORMAT, SourceItem
from ecmvae.data.collage.sources import CollageSources
from ecmvae.data.collage.table import packaged_table
from ecmvae.data.collage.writer import CollageSettings, write_collage
from ecmvae.data.loading import load_clips
from ecmvae.errors import UserError
from ecmvae.foreign_text import read_json


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder in which the drawn sources pass for the fetched ones."""
    folder = tmp_path_factory.mktemp("cache")
    make_sources(folder / f"sources-{FORMAT}-{packaged_table().digest[:12]}")
    return folder


@pytest.fixture(scope="module")
def table() -> list[SourceItem]:
    """The backgrounds of the packaged table and the items that are dealt, without their files."""
    rest = dict.fromkeys(("file", "licence", "author", "sha256"), "")
    dealt = [
        e
        for e in packaged_table().entries
        if e.kind == "background" or (e.kind in ("image", "sound") and e.category)
    ]
    return [SourceItem(id=entry.id, **vars(entry), **rest) for entry in dealt]


def test_other_sounds_and_photographs_keep_their_pools() -> None:
    rest = dict.fromkeys(("file", "licence", "author", "sha256"), "")
    entries = [entry for entry in packaged_table().entries if entry.kind in ("other", "photograph")]
    items = [SourceItem(id=entry.id, **vars(entry), **rest) for entry in entries]
    assert {item.kind for item in items} == {"other", "photograph"}
    assert list(deal(items, 1, 3)) == items


def _of_a_class(item: SourceItem) -> bool:
    return item.kind in ("image", "sound") and item.category != ""


@pytest.mark.parametrize("folds", [2, 3, 5, 8])
def test_every_item_is_held_out_once_and_every_class_keeps_one(
    table: list[SourceItem], folds: int
) -> None:
    classes = Counter((item.kind, item.category) for item in table if _of_a_class(item))
    held: Counter[tuple[str, str]] = Counter()
    sizes = []
    for fold in range(folds):
        items = deal(table, fold, folds)
        assert [item.id for item in items] == [item.id for item in table]
        known = {
            (item.kind, item.category)
            for item in items
            if _of_a_class(item) and item.pool == "known"
        }
        assert known == set(classes)
        chosen = [item for item in items if _of_a_class(item) and item.pool == "held_out"]
        held.update((item.kind, item.id) for item in chosen)
        sizes.append(sum(item.kind == "image" for item in chosen))
        assert [item for item in items if not _of_a_class(item)] == [
            item for item in table if not _of_a_class(item)
        ]
        with_both = set.intersection(
            *({i.category for i in chosen if i.kind == kind} for kind in ("image", "sound"))
        )
        assert folds > 5 or len(with_both) >= 3  # three objects in a clip need three classes
    assert max(sizes) - min(sizes) <= 2  # a series of two counts as one
    assert set(held.values()) == {1}
    rest = [item for item in table if _of_a_class(item) and (item.kind, item.id) not in held]
    assert all(
        classes[item.kind, item.category] == 1 or item.package in NEVER_HELD_OUT for item in rest
    )
    assert never_held_out(table) == {
        kind: sum(item.kind == kind for item in rest) for kind in ("image", "sound")
    }
    assert never_held_out(table)["image"] == 13  # counted by hand in classes.yaml


def test_a_deal_worked_out_by_hand() -> None:
    def item(kind: str, category: str, name: str) -> SourceItem:
        rest = dict.fromkeys(("package", "path", "file", "licence", "author", "sha256"), "")
        return SourceItem(id=name, kind=kind, category=category, pool="known", **rest)

    items = [item("image", "cow", name) for name in ("c", "a", "b")] + [item("sound", "cow", "moo")]
    items += [item("image", "dog", name) for name in ("y", "x")] + [
        item("sound", "dog", name) for name in "pqr"
    ]
    held = [
        [each.id for each in deal(items, fold, 2) if each.pool == "held_out"] for fold in (0, 1)
    ]
    # cow: a, b, c to folds 0, 1, 0 and its only recording to none; dog goes on at fold 1.
    assert held == [["c", "a", "y", "q"], ["b", "x", "p", "r"]]


def test_a_series_stays_together_and_a_sound_font_is_only_trained_on(
    table: list[SourceItem],
) -> None:
    for fold in range(5):
        pools = {(item.kind, item.id): item.pool for item in deal(table, fold, 5)}
        for kind in ("image", "sound"):
            assert pools[kind, "tuxpaint_pig_golden"] == pools[kind, "tuxpaint_pig_golden2"]
        assert (
            pools["sound", "gcompris_lrbark_1_la_cut"] == pools["sound", "gcompris_lrbark_3_la_cut"]
        )
    rest = dict.fromkeys(("path", "file", "licence", "author", "sha256"), "")
    sounds = [
        SourceItem(id=name, kind="sound", category="trumpet", pool="known", package=package, **rest)
        for name, package in (("real", "gcompris"), ("a", "timgm6mb"), ("b", "timgm6mb"))
    ]
    held = [
        [item.id for item in deal(sounds, fold, 2) if item.pool == "held_out"] for fold in (0, 1)
    ]
    assert held == [["real"], []]
    assert never_held_out(sounds) == {"image": 0, "sound": 2}


def test_the_folds_of_sources(cache: Path) -> None:
    own = CollageSources.fetch(cache)
    assert own.fold(0, 0).items == own.items
    folds = [own.fold(number, 3) for number in range(3)]
    for category in CLASSES:
        held = [fold.images(category, held_out=True) for fold in folds]
        assert sorted(sum(held, ())) == sorted(
            own.images(category) + own.images(category, held_out=True)
        )
        for fold in folds:
            assert not set(fold.images(category)) & set(fold.images(category, held_out=True))
            assert not set(fold.sounds(category)) & set(fold.sounds(category, held_out=True))
    assert folds[1].fold(0, 3).items == folds[0].items


def test_a_configuration_names_a_fold(cache: Path) -> None:
    data = config_from_dict(
        {
            "data": {
                "name": "collage",
                "root": str(cache),
                "folds": 3,
                "fold": 1,
                "image_size": 32,
                "length": 9,
            }
        }
    ).data
    fold = CollageSources.fetch(cache).fold(1, 3)
    for split, held_out in (("train", False), ("test_unseen", True)):
        clips = load_clips(data, split)
        assert isinstance(clips, CollageClips)
        shown = {
            (thing.category, thing.image)
            for index in range(9)
            for thing in clips.scene(index).objects
        }
        assert all(image in fold.images(category, held_out) for category, image in shown)


def test_a_written_set_has_the_fold(cache: Path, tmp_path: Path) -> None:
    fold = CollageSources.fetch(cache).fold(2, 3)
    settings = CollageSettings(
        size=32, splits=("test_unseen",), kinds=("s4",), clips_per_set=6, raw_video=False
    )
    root = write_collage(tmp_path / "out", fold, settings, workers=1, progress=False)
    for clip in read_json(root / "Single-source" / "clips.json").values():
        for category, image, sound in zip(
            clip["objects"], clip["images"], clip["sounds"], strict=True
        ):
            assert image in fold.images(category, held_out=True)
            assert sound in fold.sounds(category, held_out=True)
    assert read_json(root / "manifest.json")["folds"] == 3


@pytest.mark.parametrize(("fold", "folds"), [(0, 1), (3, 3), (-1, 3), (1, 0), (0, 101)])
def test_there_is_no_such_fold(fold: int, folds: int) -> None:
    with pytest.raises(UserError, match="fold"):
        check_fold(fold, folds)
    with pytest.raises(UserError, match="fold"):
        load_config((), {"data.fold": fold, "data.folds": folds})
