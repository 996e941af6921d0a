"""What is heard, by name: moments at equal distances, and the same names from onnxruntime and from PyTorch."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from odd_videos import OddVideo, Track

import ecmvae
from ecmvae.cli import main
from ecmvae.data.video import SoundArray
from ecmvae.prediction import hearing
from ecmvae.prediction.hearing import Tagger, listen

EXAMPLE = Path(__file__).parents[2] / "docs" / "assets" / "example.mp4"


class _Loudness:
    """Says how loud a second is as if that were its first name, speech, and the rest of 1 as its second."""

    def __init__(self) -> None:
        self.windows = 0

    def __call__(self, waveforms: np.ndarray) -> np.ndarray:
        self.windows = len(waveforms)
        scores = np.zeros((len(waveforms), 521), np.float32)
        scores[:, 0] = np.square(waveforms).mean(axis=1)
        scores[:, 1] = 1 - scores[:, 0]
        return scores


def test_the_highest_of_each_name_counts_most_probable_first() -> None:
    waveform = np.zeros(3 * 16_000, np.float32)
    waveform[16_000:32_000] = 0.5  # the second second: .25 loud
    heard = listen(SoundArray(waveform), 3.0, _Loudness())
    assert [each.name for each in heard] == ["Child speech, kid speaking", "Speech"]
    assert heard[0].probability == pytest.approx(1)
    assert heard[1].probability == pytest.approx(0.25)
    assert str(heard[1]) == "Speech 0.25"


def test_a_long_sound_is_heard_at_sixty_moments() -> None:
    tagger = _Loudness()
    listen(SoundArray(np.zeros(16_000, np.float32)), 3600.0, tagger)
    assert tagger.windows == 60


def test_onnxruntime_and_pytorch_hear_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    waveforms = np.random.default_rng(0).normal(0, 0.1, (3, 16_000)).astype(np.float32)
    exported = Tagger()(waveforms)
    monkeypatch.setattr(hearing, "find_spec", lambda name: None)
    assert np.abs(exported - Tagger()(waveforms)).max() < 1e-4
    assert exported.shape == (3, 521)


def test_the_cow_of_the_example_moos_and_the_sheep_bleats() -> None:
    heard = ecmvae.VideoPredictor("collage-small").heard(EXAMPLE)
    names = [each.name for each in heard]
    assert names[0] in ("Cattle, bovinae", "Moo")
    assert "Bleat" in names


def test_where_nothing_is_marked_the_command_says_what_was_heard(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    generator = np.random.default_rng(0)
    frames = np.full((16, 60, 80, 3), 128, np.uint8)
    noise = Track(0.3 * generator.normal(size=(1, 2 * 48_000)).astype(np.float32), codec="aac")
    film = OddVideo(frames, rate=Fraction(8), tracks=[noise]).write(tmp_path / "noise.mp4")
    assert main(["predict", str(film), "--out", str(tmp_path / "out.json")]) == 0
    (line,) = [each for each in caplog.messages if ": heard: " in each]
    assert "noise.mp4: heard: " in line
    # an answer that is not ours: to AudioSet's network, noise is falling water
    assert "heard: Waterfall 0." in line
