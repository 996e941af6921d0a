"""Sound and picture are held together to 20 ms, from an encoded file to the time that the predictor attributes.

Each video has a white flash of one frame and a click at the same moment. The toy model reports in one half of its map
how bright the frame is, and in the other where in the sound around that frame the click lies.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from odd_videos import OddVideo, Track
from torch import Tensor, nn

from ecmvae.prediction.options import PredictorOptions
from ecmvae.prediction.predictor import VideoPredictor
from ecmvae.prediction.result import VideoResult
from ecmvae.visual.normalisation import Normalisation

FPS = 50
SECONDS = 3.0
TOLERANCE = 0.020


@dataclass(frozen=True)
class ClickFrontEnd:
    """The moment of the loudest sample as a share of the window, 0 where it is silent."""

    sample_rate: int = 16_000
    seconds: float = 1.0
    name: str = "click"

    def __call__(self, waveforms: Tensor) -> Tensor:
        assert waveforms.shape[1] == round(self.sample_rate * self.seconds)
        loudest, place = waveforms.abs().max(dim=1)
        return torch.where(loudest > 0.1, place / waveforms.shape[1], 0.0)[:, None]


class FlashAndClickModel(nn.Module):
    """Left half of the map: brightness of the frame; right half: where in the window the click is."""

    image_size, num_frames, class_names = 16, 3, ()
    normalisation = Normalisation(mean=(0.1, 0.2, 0.3), std=(0.5, 0.4, 0.3))

    def __init__(self, front_end: ClickFrontEnd) -> None:
        super().__init__()
        self.front_end = front_end

    def encode_audio(self, features: Tensor) -> Tensor:
        return features

    def forward(
        self, frames: Tensor, audio: Tensor, *, latents: str
    ) -> "FlashAndClickModel.Output":
        left = self.normalisation.pictures(frames).mean(dim=(2, 3, 4))[..., None].expand(-1, -1, 8)
        row = torch.cat([left, audio.expand(-1, -1, 8)], dim=-1)
        return self.Output(row[:, :, None, None].expand(-1, -1, 1, 16, -1).logit(eps=1e-6))

    @dataclass(frozen=True)
    class Output:
        logits: Tensor

    def sample_logits(self, frames: Tensor, audio: Tensor, num_samples: int) -> Tensor:
        raise NotImplementedError


def write(
    path: Path, flash: int, *, rate: int, codec: str, start: float, sound_start: float
) -> Path:
    """Frame number `flash` is white; a click of 2 ms begins with it."""
    frames = np.full((round(SECONDS * FPS), 32, 48, 3), 20, np.uint8)
    frames[flash] = 255
    sound = np.zeros((1, round((SECONDS + start - sound_start) * rate)), np.float32)
    click = round((start + flash / FPS - sound_start) * rate)
    sound[:, click : click + rate // 500] = 0.9
    track = Track(sound, rate=rate, codec=codec, start=sound_start)
    return OddVideo(frames, rate=Fraction(FPS), start=start, tracks=[track]).write(path)


def flash_by_pyav(path: Path) -> float:
    """Seconds from the first frame to the white one."""
    with av.open(str(path)) as container:
        times = [
            (frame.time, frame.to_ndarray(format="gray").mean())
            for frame in container.decode(video=0)
        ]
    return max(times, key=lambda each: each[1])[0] - times[0][0]


def attributed(result: VideoResult, front_end: ClickFrontEnd) -> tuple[float, np.ndarray]:
    """Time of the flash, and of the click by each key frame that hears it, on the picture's clock."""
    maps, times = result.key_probabilities.astype(np.float32), result.key_times
    bright, place = maps[:, :, :8].mean(axis=(1, 2)), maps[:, :, 8:].mean(axis=(1, 2))
    heard = (place > 0.02) & (place < 0.98)
    clicks = times[heard] + (place[heard] - 0.5) * front_end.seconds
    return float(times[bright.argmax()]) - 0.5 / FPS, clicks


FILES = {
    "mp4, 44.1 kHz": {"suffix": ".mp4", "rate": 44_100, "codec": "aac", "start": 0.0, "sound_start": 0.0},
    "mkv, 48 kHz, picture late": {
        "suffix": ".mkv", "rate": 48_000, "codec": "pcm_s16le", "start": 0.4, "sound_start": 0.0,
    },
    "mkv, 44.1 kHz, both late, sound first": {
        "suffix": ".mkv", "rate": 44_100, "codec": "pcm_s16le", "start": 1.25, "sound_start": 1.1,
    },
    "mp4, 48 kHz, sound late": {
        "suffix": ".mp4", "rate": 48_000, "codec": "aac", "start": 0.0, "sound_start": 0.2,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "front_end", [ClickFrontEnd(), ClickFrontEnd(32_000, 2.0)], ids=["16 kHz", "32 kHz, 2 s"]
)
@pytest.mark.parametrize("flash", [15, 77, 140])
@pytest.mark.parametrize("file", FILES)
def test_the_click_is_heard_where_the_flash_is_seen(
    tmp_path: Path, file: str, flash: int, front_end: ClickFrontEnd
) -> None:
    kind = dict(FILES[file])
    path = write(tmp_path / f"clip{kind.pop('suffix')}", flash, **kind)
    options = PredictorOptions(fps=float(FPS), smoothing=0.0, squash=True, batch=FPS)
    result = VideoPredictor(FlashAndClickModel(front_end), "cpu", options).predict(path)
    seen, clicks = attributed(result, front_end)
    assert seen == pytest.approx(flash_by_pyav(path), abs=1.5e-3)  # Matroska rounds to milliseconds
    assert len(clicks) > 0.4 * FPS * front_end.seconds
    assert np.abs(clicks - seen).max() < TOLERANCE
    loud = result.timestamps[result.audio_activity > 0.9 * result.audio_activity.max()]
    assert loud.mean() == pytest.approx(seen, abs=TOLERANCE)
