import numpy as np
import pytest
import torch
from collage_fixture import make_sources

from ecmvae.audio.io import log_mel_patches
from ecmvae.training.sounds import CollageSounds, Lessons, SyntheticSounds


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> CollageSounds:
    return CollageSounds(make_sources(tmp_path_factory.mktemp("sources") / "drawn"))


def test_mixtures_are_named_by_what_is_in_them(sounds: CollageSounds) -> None:
    """Every class of the fixture is a pure tone: the loudest mel band of a lone one says which it is."""
    patches = sounds.mixtures(seed=3, patches=200)
    count = patches.classes.sum(1)
    assert {0, 1, 2, 3} >= set(count.int().tolist())
    shares = [(count == k).float().mean().item() for k in range(4)]
    np.testing.assert_allclose(shares, (0.06, 0.54, 0.28, 0.12), atol=0.12)
    alone = patches.classes[count == 1].argmax(1)
    band = patches.log_mel[count == 1].mean(dim=(1, 2)).argmax(1).float()
    means = torch.stack([band[alone == k].mean() for k in range(len(sounds.classes))])
    # The fixture's tones rise in the order of the class names.
    assert torch.equal(means.argsort(), torch.arange(len(means)))


def test_the_same_seed_mixes_the_same(sounds: CollageSounds) -> None:
    one, same, other = sounds.mixtures(1, 8), sounds.mixtures(1, 8), sounds.mixtures(2, 8)
    assert torch.equal(one.log_mel, same.log_mel)
    assert torch.equal(one.classes, same.classes)
    assert not torch.equal(one.log_mel, other.log_mel)


def test_singles_are_each_recording_once(sounds: CollageSounds) -> None:
    known, held_out = sounds.singles(held_out=False), sounds.singles(held_out=True)
    sources = sounds.sources
    assert known.classes.sum(0).tolist() == [len(sources.sounds(name)) for name in sounds.classes]
    assert held_out.classes.sum(0).tolist() == [len(sources.sounds(name, True)) for name in sounds.classes]
    assert (known.log_mel.amax(dim=(1, 2, 3)) > 0).all()  # heard, not a pause


def test_silence_is_one_of_the_lessons(sounds: CollageSounds) -> None:
    patches = sounds.mixtures(seed=0, patches=300)
    quiet = patches.log_mel[patches.classes.sum(1) == 0]
    assert len(quiet) > 3
    loud = log_mel_patches(torch.full((16_000,), 0.1).cumsum(0).sin(), hop_seconds=1.0, num_patches=1)
    assert quiet.amax() < loud.amax()


def test_synthetic_voices_are_named_by_the_second() -> None:
    patches = SyntheticSounds().mixtures(seed=5, patches=12)
    assert patches.log_mel.shape[0] == patches.classes.shape[0] == 12
    assert patches.classes.sum(1).max() <= 2
    assert SyntheticSounds().singles(held_out=True).log_mel.shape[0] == 0


def test_lessons_differ_from_batch_to_batch_and_from_seed_to_seed(sounds: CollageSounds) -> None:
    lessons = Lessons(sounds, batches=3, batch_size=4, seed=0)
    assert len(lessons) == 3
    assert not torch.equal(lessons[0].log_mel, lessons[1].log_mel)
    assert not torch.equal(lessons[0].log_mel, Lessons(sounds, batches=3, batch_size=4, seed=1)[0].log_mel)
    assert torch.equal(lessons[2].log_mel, lessons[2].log_mel)
