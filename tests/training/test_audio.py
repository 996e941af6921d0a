import json
from pathlib import Path

import pytest
import torch
import yaml
from collage_fixture import make_sources

from ecmvae.audio.encoder import build_audio_encoder, load_audio_weights
from ecmvae.errors import UserError
from ecmvae.training.audio import false_names, noises, scale_to_one, train_audio
from ecmvae.training.sounds import CollageSounds, LabelledSound, SyntheticSounds


class MeanFrontEnd:
    """The mean of each second."""

    name, sample_rate, seconds = "mean", 16_000, 1.0

    def __call__(self, waveforms: torch.Tensor) -> torch.Tensor:
        return waveforms.mean(1, keepdim=True)


class Loudness(torch.nn.Identity):
    front_end = MeanFrontEnd()


def test_a_trained_encoder_names_the_voices_and_can_be_loaded(tmp_path: Path) -> None:
    out = tmp_path / "audio"
    report = train_audio(SyntheticSounds(), out, steps=60, batch_size=30, workers=0, device="cpu")
    assert report.known > 0.9  # of six voices: chance is 0.17
    assert report.held_out is None
    assert report.others is None
    assert json.loads((out / "report.json").read_text())["known"] == report.known
    encoder = build_audio_encoder("vggish_small").eval()
    load_audio_weights(encoder, out)
    singles = SyntheticSounds().singles(held_out=False)
    classes = torch.cat([single.classes for single in singles])
    with torch.no_grad():
        embedding = encoder(torch.cat([single.features(encoder.front_end) for single in singles]))
    # What is kept is the embedding: each voice lies nearest to the mean of its own kind.
    centres = torch.stack([embedding[classes[:, k] == 1].mean(0) for k in range(6)])
    nearest = torch.cdist(embedding, centres).argmin(1)
    assert (nearest == classes.argmax(1)).float().mean() > 0.9
    with torch.no_grad():
        mixed = encoder(SyntheticSounds().mixtures(seed=1, seconds=60).features(encoder.front_end))
    assert mixed.square().mean().sqrt().item() == pytest.approx(1, abs=0.15)


def test_false_names_are_counted_above_one_half() -> None:
    """A stand-in whose only class has the logit level - 0.05: as loud as that or louder is named."""
    encoder = Loudness()
    classifier = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(classifier.weight, 1.0)
    torch.nn.init.constant_(classifier.bias, -0.05)
    sounds = [
        LabelledSound(torch.full((16_000,), level), torch.zeros(1, 1))
        for level in (0.0, 0.04, 0.06, 0.5)
    ]
    assert false_names(encoder, classifier, sounds) == 0.5
    assert false_names(encoder, classifier, []) is None


def test_noises_span_faint_to_loud() -> None:
    levels = [20 * float(noise.waveform.square().mean().sqrt().log10()) for noise in noises(3)]
    assert levels[0] == pytest.approx(-60, abs=0.1)
    assert levels[-1] == pytest.approx(-20, abs=0.1)
    assert all(noise.classes.tolist() == [[0, 0, 0]] for noise in noises(3))


def test_an_encoder_says_which_fold_it_did_not_hear(tmp_path: Path) -> None:
    sources = make_sources(tmp_path / "sources").fold(2, 3)
    report = train_audio(
        CollageSounds(sources), tmp_path / "audio", steps=1, batch_size=4, workers=0, device="cpu"
    )
    settings = yaml.safe_load((tmp_path / "audio" / "config.yaml").read_text())
    assert (settings["fold"], settings["folds"]) == (2, 3)
    assert report.held_out is not None


def test_scaling_changes_nothing_but_the_scale() -> None:
    encoder = build_audio_encoder("vggish").eval()
    patches = torch.randn(3, 1, 96, 64)
    with torch.no_grad():
        before = encoder(patches)
        scale_to_one(encoder, patches)
        after = encoder(patches)
    torch.testing.assert_close(after, before / before.square().mean().sqrt())


def test_a_time_budget_ends_the_course(tmp_path: Path) -> None:
    report = train_audio(
        SyntheticSounds(),
        tmp_path / "a",
        steps=10_000,
        max_minutes=0.03,
        batch_size=10,
        workers=0,
        device="cpu",
    )
    assert 1 <= report.steps < 10_000


def test_nothing_is_begun_where_an_encoder_lies_or_without_the_device(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists already"):
        train_audio(SyntheticSounds(), tmp_path, steps=1)
    with pytest.raises(UserError, match="toaster"):
        train_audio(SyntheticSounds(), tmp_path / "new", steps=1, device="toaster")
    assert not (tmp_path / "new").exists()
