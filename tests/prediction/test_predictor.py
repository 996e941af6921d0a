"""The predictor against a model whose answer is known, on videos whose contents are known."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from lamp_video import lamp_video
from listening_model import ListeningModel, Output
from PIL import Image

from ecmvae.audio.encoder import build_audio_encoder
from ecmvae.data.video import OpenVideo, SourceFrame, container, read_clip
from ecmvae.errors import UserError
from ecmvae.models import ECMVAE
from ecmvae.prediction import predictor
from ecmvae.prediction.command import predict
from ecmvae.prediction.key_frames import interleaved_clips
from ecmvae.prediction.measures import binary_entropy
from ecmvae.prediction.options import PredictorOptions
from ecmvae.prediction.predictor import VideoPredictor
from ecmvae.prediction.result import VideoResult
from ecmvae.prediction.torch_engine import TorchEngine
from ecmvae.visual.backbone import VisualBackbone
from ecmvae.visual.normalisation import IMAGENET, Normalisation


def test_masks_are_where_it_is_bright_when_it_is_loud(ten_seconds: Path) -> None:
    result = VideoPredictor(ListeningModel(), "cpu", PredictorOptions(smoothing=0.0)).predict(
        ten_seconds
    )
    assert len(result) == 100
    assert (
        result.masks.shape
        == result.probabilities.shape
        == result.uncertainty.shape
        == (100, 96, 128)
    )
    assert result.timestamps == pytest.approx(np.arange(100) / 10, abs=1e-3)
    # the tone sounds from 4 to 7 s; a key frame hears half a second to each side
    times = result.timestamps
    loud = result.masks.any(axis=(1, 2))
    assert loud[(times > 3.7) & (times < 7.3)].all()
    assert not loud[(times < 3.2) | (times > 7.8)].any()
    truth = np.zeros((96, 128), bool)
    truth[24:72, 32:96] = True
    at_five = result.masks[50]
    assert (at_five & truth).sum() / (at_five | truth).sum() > 0.9  # as fine as 64 pixels can be


def test_audio_activity_is_decibels(ten_seconds: Path) -> None:
    result = VideoPredictor(ListeningModel(), "cpu").predict(ten_seconds)
    activity, times = result.audio_activity, result.timestamps
    assert np.all(activity[(times < 3.9) | (times > 7.1)] < 0.05)
    # a sine of amplitude 0.5 has -9.03 dB
    assert activity[(times > 4.1) & (times < 6.9)] == pytest.approx(1 - 9.03 / 60, abs=0.01)


@pytest.mark.parametrize("smoothing", [0.0, 0.25, 0.6])
@pytest.mark.parametrize(
    ("seconds", "num_frames", "fps"), [(10.0, 2, 4.0), (7.3, 3, 2.5), (1.0, 5, 4.0), (4.0, 1, 0.5)]
)
def test_windows_together_are_the_whole(
    tmp_path: Path, smoothing: float, seconds: float, num_frames: int, fps: float
) -> None:
    path = lamp_video(tmp_path / "a.mp4", seconds=seconds, size=(32, 32))
    options = PredictorOptions(smoothing=smoothing, fps=fps)
    windows = list(VideoPredictor(ListeningModel(32, num_frames), "cpu", options).stream(path))
    joined = VideoResult.join(windows)
    assert joined.timestamps == pytest.approx(np.arange(round(seconds * 10)) / 10, abs=1e-3)
    assert [window.first_index for window in windows] == list(
        np.cumsum([0, *map(len, windows)])[:-1]
    )
    assert np.array_equal(np.concatenate([window.masks for window in windows]), joined.masks)
    # one block that spans everything must give the same as many small ones
    whole = VideoPredictor(ListeningModel(32, 100), "cpu", options).predict(path)
    assert np.allclose(whole.key_probabilities, joined.key_probabilities, atol=2e-3)
    assert np.array_equal(whole.key_times, joined.key_times)


def test_clips_have_the_length_and_spacing_of_training(ten_seconds: Path) -> None:
    model = ListeningModel()
    options = PredictorOptions(batch=3)
    VideoPredictor(model, "cpu", options).predict(ten_seconds)
    # 40 key frames = 2 blocks of 4 interleaved clips of 5: on a CPU one by one, else in batches of at most 3
    assert model.seen_shapes == [(1, 5, 3, 64, 64)] * 8
    model.seen_shapes.clear()
    engine = TorchEngine(model, "cpu")
    engine.one_by_one = False
    VideoPredictor(engine, options=options).predict(ten_seconds)
    assert model.seen_shapes == [(3, 5, 3, 64, 64), (1, 5, 3, 64, 64)] * 2
    tables = list(interleaved_clips(20, num_frames=5, stride=4, batch=4))
    assert len(tables) == 1
    assert tables[0][1].tolist() == [1, 5, 9, 13, 17]


@pytest.mark.parametrize("count", [1, 3, 4, 7, 20, 21, 39, 40, 43])
@pytest.mark.parametrize("batch", [1, 4])
def test_every_key_frame_is_in_a_clip(count: int, batch: int) -> None:
    tables = list(interleaved_clips(count, num_frames=5, stride=4, batch=batch))
    covered = set(np.concatenate([table.ravel() for table in tables]).tolist())
    assert covered == set(range(count))
    for table in tables:
        assert table.shape[0] <= batch
        assert table.shape[1] == 5 or count < 20
        assert (np.diff(table, axis=1) == 4).all()


def test_last_block_reaches_back(tmp_path: Path) -> None:
    model = ListeningModel(32)
    path = lamp_video(tmp_path / "a.mp4", seconds=6.0, size=(32, 32))
    VideoPredictor(model, "cpu").predict(path)
    assert {shape[1] for shape in model.seen_shapes} == {5}


def test_aspect_is_kept_and_masks_have_the_size_of_the_source(tmp_path: Path) -> None:
    path = lamp_video(tmp_path / "wide.mp4", seconds=2.0, size=(48, 192))
    for squash in (False, True):
        result = VideoPredictor(ListeningModel(), "cpu", PredictorOptions(squash=squash)).predict(
            path
        )
        assert result.masks.shape == (20, 48, 192)
        inner = result.key_probabilities.shape[1:]
        assert tuple(inner) == ((64, 64) if squash else (16, 64))
        truth = np.zeros((48, 192), bool)
        truth[12:36, 48:144] = True
        mask = result.masks[11]
        assert (mask & truth).sum() / (mask | truth).sum() > 0.8


def test_no_sound_is_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = lamp_video(tmp_path / "mute.mp4", seconds=2.0, size=(32, 32), sound=False)
    result = VideoPredictor(ListeningModel(32), "cpu").predict(path)
    assert not result.masks.any()
    assert not result.audio_activity.any()
    assert caplog.text.count("has no sound") == 1


def test_samples_are_seeded_and_spread_shows_as_uncertainty(ten_seconds: Path) -> None:
    def predict(samples: int, seed: int = 0) -> VideoResult:
        options = PredictorOptions(samples=samples, seed=seed, smoothing=0.0, fps=1.0)
        return VideoPredictor(ListeningModel(32), "cpu", options).predict(ten_seconds)

    state = torch.random.get_rng_state()
    one, again, other = predict(3), predict(3), predict(3, seed=1)
    # the caller's random numbers are left alone
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(one.key_probabilities, again.key_probabilities)
    assert not np.array_equal(one.key_probabilities, other.key_probabilities)


def test_uncertainty_is_binary_entropy_in_bits() -> None:
    values = binary_entropy(np.array([0.0, 0.5, 1.0, 0.25]))
    assert values.tolist() == pytest.approx([0.0, 1.0, 0.0, 0.811278], abs=3e-5)


def test_a_broken_model_is_refused(ten_seconds: Path, tmp_path: Path) -> None:
    model = ListeningModel()
    model.register_forward_hook(lambda _module, _inputs, output: Output(output.logits * torch.nan))
    with pytest.raises(UserError, match="answers NaN"):
        VideoPredictor(model, "cpu").predict(ten_seconds).save(tmp_path / "out.mp4")
    assert not list(tmp_path.iterdir())


def test_a_model_without_a_configuration(ten_seconds: Path) -> None:
    backbone = VisualBackbone("efficientnet_lite0")
    model = ECMVAE(backbone, build_audio_encoder("vggish_small"), image_size=64, channels=8)
    assert model.config is None
    options = PredictorOptions(fps=1.0, smoothing=0.0)
    before = VideoPredictor(model, "cpu", options).predict(ten_seconds).key_probabilities
    assert before.shape == (10, 48, 64)
    model.normalisation = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.1, 0.1, 0.1))
    assert not np.array_equal(
        VideoPredictor(model, "cpu", options).predict(ten_seconds).key_probabilities, before
    )


def test_a_model_that_cannot_predict_says_what_it_lacks() -> None:
    with pytest.raises(
        UserError, match=r"Linear is not a model that predicts: it lacks \.image_size and"
    ):
        VideoPredictor(torch.nn.Linear(1, 1), "cpu")
    model = ListeningModel()
    model.front_end = None
    with pytest.raises(UserError, match="no audio encoder"):
        VideoPredictor(model, "cpu")


def test_a_video_is_opened_as_often_as_it_is_decoded(
    ten_seconds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real = container.open_regular
    monkeypatch.setattr(
        container, "open_regular", lambda path: opened.append(path.name) or real(path)
    )
    monkeypatch.setattr(predictor, "open_engine", lambda *_, **__: TorchEngine(ListeningModel(32)))
    assert predict([str(ten_seconds)], out=tmp_path, checkpoint="any", device="cpu") == 0
    # pictures and sound for the model, pictures and sound for the overlay
    assert opened.count("lamp.mp4") == 4
    opened.clear()
    assert (
        predict(
            [str(ten_seconds)],
            out=tmp_path,
            checkpoint="any",
            device="cpu",
            overlay=False,
            npz=True,
        )
        == 0
    )
    assert opened.count("lamp.mp4") == 2


class WavyEngine:
    """Clips whose frames depend on each other, pixel by pixel; it notes how many it has been given."""

    name, image_size, num_frames, class_names = "wavy", 32, 5, ("background", "a", "b")
    normalisation, sample_rate, seconds = IMAGENET, 16_000, 1.0

    def __init__(self, one_by_one: bool) -> None:
        self.one_by_one, self.clips = one_by_one, 0

    def features(self, waveforms: np.ndarray) -> np.ndarray:
        return np.square(waveforms).mean(axis=1, keepdims=True)

    def logits(
        self, frames: np.ndarray, features: np.ndarray, samples: int, seed: int
    ) -> np.ndarray:
        self.clips += len(frames)
        heard = features[..., None, None] + features.mean(axis=1)[:, None, :, None, None]
        waves = np.random.default_rng(0).standard_normal((3, 32, 32), np.float32)
        return np.sin(7 * frames[:, :, :1] + 5 * heard + 3 * waves).astype(np.float32)[None]


@pytest.mark.parametrize(
    ("seconds", "fps", "batch", "smoothing"),
    [(7.3, 4.0, 4, 0.25), (12.0, 4.0, 4, 0.0), (8.0, 4.0, 8, 0.6), (3.0, 4.0, 4, 0.25),
     (9.1, 3.0, 8, 0.4), (1.0, 1.0, 4, 0.25)],
)  # fmt: skip
def test_the_first_masks_do_not_wait_for_the_block_and_have_the_same_bits(
    tmp_path: Path, seconds: float, fps: float, batch: int, smoothing: float
) -> None:
    path = lamp_video(tmp_path / "a.mp4", seconds=seconds, size=(32, 32))
    options = PredictorOptions(fps=fps, batch=batch, smoothing=smoothing)
    engine = WavyEngine(one_by_one=True)
    windows = VideoPredictor(engine, options=options).stream(path)
    first = next(windows)
    if seconds > 5 and batch == 4 and smoothing <= 0.25:
        # a key frame, and those that smoothing needs behind it: of the first 20, which are 4 clips
        assert engine.clips == (3 if smoothing else 1)
    parts = [first, *windows]
    whole = VideoPredictor(WavyEngine(one_by_one=False), options=options).predict(path)
    joined = VideoResult.join(parts)
    for name in ("key_times", "key_probabilities", "key_classes", "timestamps", "audio_activity"):
        assert np.array_equal(getattr(joined, name), getattr(whole, name)), name
    assert 0.1 < whole.masks.mean() < 0.9
    masks = np.concatenate([part.masks for part in parts])
    assert np.array_equal(masks, whole.masks)
    assert np.array_equal(np.concatenate([part.classes for part in parts]), whole.classes)


def test_the_first_window_needs_no_frame_of_the_second_block(
    ten_seconds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[float] = []
    real = OpenVideo.frames

    def frames(self: OpenVideo) -> Iterator[SourceFrame]:
        for frame in real(self):
            decoded.append(frame.time)
            yield frame

    monkeypatch.setattr(OpenVideo, "frames", frames)
    next(VideoPredictor(WavyEngine(one_by_one=True)).stream(ten_seconds))
    # the 21st key frame, at 5.125 s, says that the block is not the last
    assert decoded[-1] < 5.5


def test_half_precision_agrees(ten_seconds: Path) -> None:
    full = VideoPredictor(ListeningModel(32), "cpu").predict(ten_seconds)
    half = VideoPredictor(ListeningModel(32), "cpu", PredictorOptions(half=True)).predict(
        ten_seconds
    )
    assert (full.masks == half.masks).mean() > 0.99


def test_arrays_give_what_the_file_gives(ten_seconds: Path, tmp_path: Path) -> None:
    clip = read_clip(ten_seconds)
    ours = VideoPredictor(ListeningModel(32), "cpu")
    from_file, from_arrays = (
        ours.predict(ten_seconds),
        ours.predict_arrays(clip.frames, 10.0, clip.waveform),
    )
    assert np.array_equal(from_file.masks, from_arrays.masks)
    assert from_arrays.audio_activity == pytest.approx(from_file.audio_activity, abs=1e-6)
    with pytest.raises(UserError, match="from arrays"):
        from_arrays.save(tmp_path / "a.mp4")
    with pytest.raises(UserError, match="no frames"):
        ours.predict_arrays(clip.frames[:0], 10.0, clip.waveform)


@pytest.mark.parametrize(
    ("seconds", "loud_from", "heard"),
    [(1.0, 0.0, True), (0.5, 0.0, True), (9.0, 4.0, True), (9.0, 5.5, False)],
)
def test_a_picture_with_its_second_of_sound(seconds: float, loud_from: float, heard: bool) -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[10:30, 20:50] = 255
    time = np.arange(round(seconds * 48_000)) / 48_000
    tone = (0.5 * np.sin(2 * np.pi * 440 * time) * (time >= loud_from)).astype(np.float32)
    ours = VideoPredictor(ListeningModel(), "cpu")
    answer = ours.predict_image(pixels, tone, 48_000)
    assert answer.mask.shape == (48, 64)
    assert answer.mask.any() == heard
    palette = Image.fromarray(pixels).convert("P")  # neither RGB nor an array
    assert np.array_equal(ours.predict_image(palette, tone, 48_000).mask, answer.mask)
    if heard:
        truth = pixels[..., 0] > 0
        assert (answer.mask & truth).sum() / (answer.mask | truth).sum() > 0.8


class CoinModel(ListeningModel):
    """Every sample is sure of itself, and a coin decides of what."""

    def sample_logits(
        self, frames: torch.Tensor, audio: torch.Tensor, num_samples: int
    ) -> torch.Tensor:
        shape = (num_samples, *frames.shape[:2], 1, *frames.shape[3:])
        return torch.where(torch.rand(shape) < 0.5, 20.0, -20.0)


def test_samples_that_disagree_are_uncertain(ten_seconds: Path) -> None:
    def uncertainty(samples: int) -> float:
        options = PredictorOptions(samples=samples, smoothing=0.0, fps=1.0)
        key = VideoPredictor(CoinModel(32), "cpu", options).predict(ten_seconds).key_uncertainty
        return float(key.mean(dtype=np.float32))

    assert uncertainty(1) < 0.01  # the means of the latents: one answer
    # the entropy of the share of heads in four throws: 0.811 bits x 1/2 + 1 bit x 3/8
    assert uncertainty(4) == pytest.approx(0.811278 / 2 + 3 / 8, abs=0.02)


class StubbornModel(ListeningModel):
    """Every sample is the same."""

    def sample_logits(
        self, frames: torch.Tensor, audio: torch.Tensor, num_samples: int
    ) -> torch.Tensor:
        return torch.full((num_samples, *frames.shape[:2], 1, *frames.shape[3:]), 20.0)


@pytest.mark.parametrize(
    ("model", "samples", "said"), [(StubbornModel, 3, 1), (StubbornModel, 1, 0), (CoinModel, 3, 0)]
)
def test_samples_that_add_nothing_are_told(
    ten_seconds: Path,
    caplog: pytest.LogCaptureFixture,
    model: type[ListeningModel],
    samples: int,
    said: int,
) -> None:
    VideoPredictor(model(32), "cpu", PredictorOptions(samples=samples, fps=1.0)).predict(
        ten_seconds
    )
    assert caplog.text.count(f"--samples {samples} adds nothing") == said


def test_threshold_can_be_moved_afterwards(ten_seconds: Path) -> None:
    result = VideoPredictor(ListeningModel(32), "cpu", PredictorOptions(smoothing=0.5)).predict(
        ten_seconds
    )
    areas = [result.with_threshold(threshold).masks.sum() for threshold in (0.1, 0.5, 0.9)]
    assert areas[0] > areas[1] > areas[2] > 0


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"fps": 0.0}, "fps"),
        ({"threshold": 1.5}, "threshold"),
        ({"samples": 0}, "samples"),
        ({"batch": 0}, "batch"),
        ({"smoothing": -1.0}, "smoothing"),
        ({"smoothing": float("nan")}, "smoothing"),
        ({"seed": 2**63}, "seed"),
    ],
)
def test_impossible_options_are_refused(option: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PredictorOptions(**option)
