"""Pairs of photographs: what they show and play, and who is right about them."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from collage_fixture import CLASSES, make_sources
from fake_segmenter import FakeSegmenter
from PIL import Image

from ecmvae.data.collage.photographs import PhotographPairs
from ecmvae.data.collage.prepare import photograph
from ecmvae.data.collage.sources import CollageSources
from ecmvae.data.collage.table import packaged_table
from ecmvae.errors import UserError
from ecmvae.evaluation.photographs import PairAnswer, pair_scores, show_pairs


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> CollageSources:
    return make_sources(tmp_path_factory.mktemp("sources"), photographs=True)


def test_a_pair_is_two_classes_and_the_sound_of_one(sources: CollageSources) -> None:
    pairs = PhotographPairs(sources, 24, size=64)
    assert set(Counter(pair.picture for pair in pairs.pairs).values()) == {4}  # six photographs
    assert {pair.heard for pair in pairs.pairs} == {0, 1}
    for index, pair in enumerate(pairs.pairs):
        assert pair.upper != pair.lower
        own = pair.picture.removeprefix("photo_")
        assert pair.sound in (sources.sounds(own, held_out=True) or sources.sounds(own))
        clip = pairs[index]
        assert (clip.category, clip.picture, clip.recording) == (own, pair.picture, pair.sound)
        assert clip.frames.shape == (5, 3, 64, 64)
        assert torch.equal(clip.frames[0], clip.frames[4])
        heard = sources.load_sound(pair.sound)
        assert np.array_equal(clip.waveform[: len(heard)].numpy(), heard)
        assert len(clip.waveform) == 80_000
    assert pairs.pairs == PhotographPairs(sources, 24, size=64).pairs
    assert pairs.pairs != PhotographPairs(sources, 24, size=64, seed=1).pairs


def test_the_upper_photograph_is_the_upper_half(sources: CollageSources) -> None:
    pairs = PhotographPairs(sources, 1, size=64)
    pair, frame = pairs.pairs[0], pairs[0].frames[0].permute(1, 2, 0).float()
    for name, half in ((pair.upper, frame[:32]), (pair.lower, frame[32:])):
        photo = sources.load_photograph(name)
        height, width = photo.shape[:2]
        if width > 2 * height:
            kept = photo[:, (width - 2 * height) // 2 : (width + 2 * height) // 2]
        else:
            kept = photo[(height - width // 2) // 2 : (height + width // 2) // 2]
        assert half.mean((0, 1)).numpy() == pytest.approx(kept.mean((0, 1)), abs=4)


def test_the_pairs_of_all_folds_are_the_same_but_for_the_sounds(sources: CollageSources) -> None:
    folds = [PhotographPairs(sources.fold(fold, 3), 24).pairs for fold in range(3)]
    shown = [[(pair.upper, pair.lower, pair.heard) for pair in pairs] for pairs in folds]
    assert shown[0] == shown[1] == shown[2]
    assert len({tuple(pair.sound for pair in pairs) for pairs in folds}) == 3


def test_without_photographs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no photographs of two classes"):
        PhotographPairs(make_sources(tmp_path / "sources"))


class _Deaf(FakeSegmenter):
    def encode_audio(self, features):
        return torch.zeros(*features.shape[:2], 4)


class _Upper(_Deaf):
    """Marks the upper half, whatever it hears."""

    def forward(self, frames, audio, latents="sample", features=None):
        logits = torch.full((*frames.shape[:2], 1, *frames.shape[-2:]), -3.0)
        logits[..., : frames.shape[-2] // 2, :] = -2.0
        return SimpleNamespace(logits=logits)


class _Nothing(_Deaf):
    """The same everywhere: a tie, which is wrong."""

    def forward(self, frames, audio, latents="sample", features=None):
        return SimpleNamespace(logits=torch.zeros(*frames.shape[:2], 1, *frames.shape[-2:]))


def test_scores_of_models_that_do_not_listen(sources: CollageSources) -> None:
    pairs = PhotographPairs(sources, 7, size=32)
    answers = list(show_pairs(_Upper(), pairs))
    assert answers == [PairAnswer(pair.picture, pair.heard == 0) for pair in pairs.pairs]
    found = pair_scores(answers)
    assert (found.photographs, found.pairs) == (6, 7)
    assert found.right_of_two.value == pytest.approx(
        sum(pair.heard == 0 for pair in pairs.pairs) / 7
    )
    assert not any(answer.right for answer in show_pairs(_Nothing(), pairs))


def test_the_table_has_photographs_of_its_classes_only() -> None:
    entries = packaged_table().entries
    classes = {entry.category for entry in entries if entry.kind == "image"}
    photographs = [entry for entry in entries if entry.kind == "photograph"]
    assert len(photographs) == 17
    assert {entry.category for entry in photographs} < classes
    used = {(entry.package, entry.path) for entry in entries if entry.kind != "photograph"}
    assert not used & {(entry.package, entry.path) for entry in photographs}


def test_a_photograph_keeps_its_aspect(tmp_path: Path) -> None:
    Image.new("RGB", (1920, 1080), "red").save(tmp_path / "whole.png")
    photograph((tmp_path / "whole.png").read_bytes(), tmp_path / "a.jpg")
    assert Image.open(tmp_path / "a.jpg").size == (768, 432)


def test_only_classes_that_can_be_heard(sources: CollageSources) -> None:
    assert tuple(item.category for item in sources.photographs()) == CLASSES
