import numpy as np
import pytest
import torch
from collage_fixture import make_sources

from ecmvae.audio.vggish import VGGishFrontEnd, log_mel_patches
from ecmvae.training.sounds import CollageSounds, SyntheticSounds, TaggingDataset


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> CollageSounds:
    return CollageSounds(make_sources(tmp_path_factory.mktemp("sources") / "drawn"))


def test_mixtures_are_named_by_what_is_in_them(sounds: CollageSounds) -> None:
    """Every class of the fixture is a pure tone: the loudest mel band of a lone one says which it is."""
    patches = sounds.mixtures(seed=3, seconds=200)
    count = patches.classes.sum(1)
    assert {0, 1, 2, 3} >= set(count.int().tolist())
    shares = [(count == k).float().mean().item() for k in range(4)]
    np.testing.assert_allclose(shares, (0.06, 0.54, 0.28, 0.12), atol=0.12)
    alone = patches.classes[count == 1].argmax(1)
    band = patches.features(VGGishFrontEnd())[count == 1].mean(dim=(1, 2)).argmax(1).float()
    means = torch.stack([band[alone == k].mean() for k in range(len(sounds.classes))])
    # The fixture's tones rise in the order of the class names.
    assert torch.equal(means.argsort(), torch.arange(len(means)))


def test_the_same_seed_mixes_the_same(sounds: CollageSounds) -> None:
    one, same, other = sounds.mixtures(1, 8), sounds.mixtures(1, 8), sounds.mixtures(2, 8)
    assert torch.equal(one.waveform, same.waveform)
    assert torch.equal(one.classes, same.classes)
    assert not torch.equal(one.waveform, other.waveform)


def test_singles_are_each_recording_once(sounds: CollageSounds) -> None:
    known, held_out = sounds.singles(held_out=False), sounds.singles(held_out=True)
    sources = sounds.sources
    assert sum(one.classes for one in known).sum(0).tolist() == [len(sources.sounds(name)) for name in sounds.classes]
    assert sum(one.classes for one in held_out).sum(0).tolist() == [
        len(sources.sounds(name, True)) for name in sounds.classes
    ]
    assert all(one.features(VGGishFrontEnd()).amax() > 0 for one in known)  # heard, not a pause


def test_silence_is_one_of_the_examples(sounds: CollageSounds) -> None:
    patches = sounds.mixtures(seed=0, seconds=300)
    quiet = patches.features(VGGishFrontEnd())[patches.classes.sum(1) == 0]
    assert len(quiet) > 3
    loud = log_mel_patches(torch.full((16_000,), 0.1).cumsum(0).sin(), hop_seconds=1.0, num_patches=1)
    assert quiet.amax() < loud.amax()


def test_synthetic_voices_are_named_by_the_second() -> None:
    patches = SyntheticSounds().mixtures(seed=5, seconds=12)
    assert patches.features(VGGishFrontEnd()).shape[0] == patches.classes.shape[0] == 12
    assert patches.classes.sum(1).max() <= 2
    assert SyntheticSounds().singles(held_out=True) == []


def test_batches_differ_from_batch_to_batch_and_from_seed_to_seed(sounds: CollageSounds) -> None:
    stream = TaggingDataset(sounds, VGGishFrontEnd(), batches=3, batch_size=4, seed=0)
    assert len(stream) == 3
    assert not torch.equal(stream[0][0], stream[1][0])
    assert not torch.equal(
        stream[0][0], TaggingDataset(sounds, VGGishFrontEnd(), batches=3, batch_size=4, seed=1)[0][0]
    )
    assert torch.equal(stream[2][0], stream[2][0])
