import numpy as np
import pytest
import torch
from collage_fixture import make_sources

from ecmvae.audio.vggish import VGGishFrontEnd
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
    np.testing.assert_allclose(shares, (0.30, 0.40, 0.20, 0.10), atol=0.12)
    alone = patches.classes[count == 1].argmax(1)
    band = patches.features(VGGishFrontEnd())[count == 1].mean(dim=(1, 2)).argmax(1).float()
    means = torch.stack([band[alone == k].median() for k in range(len(sounds.classes))])
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
    assert sum(one.classes for one in known).sum(0).tolist() == [
        len(sources.sounds(name)) for name in sounds.classes
    ]
    assert sum(one.classes for one in held_out).sum(0).tolist() == [
        len(sources.sounds(name, True)) for name in sounds.classes
    ]
    assert all(one.features(VGGishFrontEnd()).amax() > 0 for one in known)  # heard, not a pause


def test_a_third_of_the_seconds_hold_silence_noise_or_other_sounds(sounds: CollageSounds) -> None:
    """The fixture's other sounds are tones of 3000 and 4000 Hz, far above the classes'."""
    patches = sounds.mixtures(seed=0, seconds=300)
    seconds, none = patches.waveform.reshape(300, 16_000), patches.classes.sum(1) == 0
    spectra = torch.fft.rfft(seconds).abs()
    loudest = spectra[:, 2380:5040].amax(1) / seconds.norm(dim=1).clamp(min=1e-9) / 16_000**0.5
    other = loudest > 0.1
    assert other[none].float().mean() == pytest.approx(0.5, abs=0.12)
    assert other[~none].float().mean() == pytest.approx(0.2, abs=0.1)
    levels = 20 * seconds[none & ~other].square().mean(1).sqrt().clamp(min=1e-9).log10()
    assert levels.min() < -100  # digital silence
    assert levels[levels > -100].min() < -70
    assert levels.max() > -20


def test_unnamed_seconds_are_the_held_out_other_sounds(sounds: CollageSounds) -> None:
    found = sounds.unnamed()
    peaks = [int(torch.fft.rfft(one.waveform).abs().argmax()) for one in found]
    assert peaks == pytest.approx([3600, 4800], abs=1)
    assert all(
        one.classes.shape == (1, len(sounds.classes)) and not one.classes.any() for one in found
    )


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
        stream[0][0],
        TaggingDataset(sounds, VGGishFrontEnd(), batches=3, batch_size=4, seed=1)[0][0],
    )
    assert torch.equal(stream[2][0], stream[2][0])
