"""Pictures and sound in the forms that people have them in; what would give wrong masks is refused in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from listening_model import ListeningModel
from PIL import Image

from ecmvae.data.video import read_clip
from ecmvae.errors import UserError
from ecmvae.prediction.inputs import as_frames, as_rgb, as_waveform, check_frames, check_sound
from ecmvae.prediction.options import PredictorOptions
from ecmvae.prediction.predictor import VideoPredictor

FRAMES = np.zeros((2, 4, 6, 3), np.uint8)
SOUND = np.zeros(16, np.float32)


def test_what_is_asked_for_is_taken() -> None:
    check_frames(FRAMES)
    check_sound(SOUND, 16_000)
    check_sound(SOUND[:0].astype(np.float64), 44_100)  # silence


@pytest.mark.parametrize(
    "frames",
    [
        FRAMES / 255.0,
        FRAMES[..., 0],
        FRAMES[0],
        FRAMES.transpose(0, 3, 1, 2),
        FRAMES.repeat(2, axis=3)[..., :4],
    ],
    ids=["floats", "grey", "a single one", "channels first", "transparent"],
)
def test_other_frames_are_refused(frames: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"\(F, H, W, 3\) uint8 RGB, got (float64|uint8) \("):
        check_frames(frames)


def test_no_frame_is_refused() -> None:
    with pytest.raises(UserError, match="no frames were given"):
        check_frames(FRAMES[:0])


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (np.zeros((2, 16)), 16_000, "take the mean of its channels"),
        (np.zeros(16, np.int16), 16_000, "divide int16 by 32768"),
        (np.full(16, np.nan), 16_000, "NaN"),
        (SOUND, 0, "sample_rate"),
    ],
)
def test_other_sound_is_refused(waveform: np.ndarray, rate: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_sound(waveform, rate)


RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
GREY = np.repeat(RGB[..., :1], 3, 2)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (RGB, RGB),
        (RGB.transpose(2, 0, 1), RGB),
        (torch.from_numpy(RGB), RGB),
        (torch.from_numpy(RGB).permute(2, 0, 1), RGB),
        (torch.from_numpy(RGB).permute(2, 0, 1) / 255, RGB),
        (RGB / 255, RGB),
        (np.dstack([RGB, RGB[..., 0]]), RGB),
        (RGB[..., 0], GREY),
        (RGB[..., :1], GREY),
        (torch.from_numpy(RGB[None, ..., 0]), GREY),
        (Image.fromarray(RGB), RGB),
        (Image.fromarray(RGB).convert("RGBA"), RGB),
    ],
)
def test_every_form_of_a_picture(picture: Any, expected: np.ndarray) -> None:
    assert np.array_equal(as_rgb(picture), expected)


def test_three_rows_or_columns_are_not_mistaken_for_channels() -> None:
    # (3, 7, 3) and (3, 5, 3)
    array, tensor = (RGB[:3], torch.from_numpy(RGB.transpose(2, 0, 1))[:, :, :3])
    assert np.array_equal(as_rgb(array), array)
    assert np.array_equal(as_rgb(tensor), RGB[:, :3])


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (RGB.astype(np.int64), "uint8 or floats in .0, 1., got int64"),
        (RGB.astype(np.float32), "floats outside .0, 1.: divide by 255"),
        (np.full((5, 7), np.nan), "floats outside"),
        (RGB[..., :2], r"got \(5, 7, 2\)"),
        (RGB[:0], r"got \(0, 7, 3\)"),
        (RGB[None, None], r"got \(1, 1, 5, 7, 3\)"),
        ("a word", "not str"),
    ],
)
def test_what_is_no_picture(picture: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        as_rgb(picture)


def test_frames_of_several_sizes_or_none() -> None:
    with pytest.raises(UserError, match="frame 1 is 7x3, the first 7x5"):
        list(as_frames([RGB, RGB[:3]]))
    with pytest.raises(UserError, match="no frames were given"):
        list(as_frames([]))
    with pytest.raises(UserError, match="unsupported input int"):
        list(as_frames(3))


@pytest.mark.parametrize(
    "sound",
    [
        np.array([[0.5, 0.25], [0.0, 0.25]]),
        torch.tensor([[0.5, 0.0], [0.25, 0.25]]).T,
        np.array([0.25, 0.25], np.float16),
        np.array([8192, 8192], np.int16),
    ],
)
def test_every_form_of_a_sound(sound: Any) -> None:
    waveform = as_waveform(sound, 16_000)
    assert waveform.dtype == np.float32
    assert waveform.tolist() == [0.25, 0.25]


def test_a_sound_has_its_samples_along_the_longer_axis() -> None:
    stereo = np.random.default_rng(1).uniform(-1, 1, (100, 2))
    assert np.allclose(as_waveform(stereo, 8000), stereo.mean(1))
    assert np.allclose(as_waveform(stereo.T, 8000), stereo.mean(1))


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "array": lambda frames: frames,
    "tensor": lambda frames: torch.from_numpy(frames).permute(0, 3, 1, 2),
    "floats": lambda frames: torch.from_numpy(frames).permute(0, 3, 1, 2) / 255,
    "PIL": lambda frames: [Image.fromarray(frame) for frame in frames],
    "list": list,
    "generator": iter,
}


@pytest.mark.parametrize("form", FORMS)
def test_pictures_give_what_the_file_gives(ten_seconds: Path, form: str) -> None:
    clip = read_clip(ten_seconds)
    ours = VideoPredictor(ListeningModel(32), "cpu", PredictorOptions(fps=2.0))
    given = FORMS[form](clip.frames)
    fps = 10.0 if form == "generator" else None  # else they last as long as the sound
    found = ours(given, waveform=torch.from_numpy(clip.waveform[None, :160_000]), fps=fps)
    assert np.array_equal(found.masks, ours.predict(ten_seconds).masks)
    assert "pictures, 100 frames of" in repr(found)


def test_a_picture_a_list_of_videos_and_a_sound_of_ones_own(ten_seconds: Path) -> None:
    ours = VideoPredictor(ListeningModel(32), "cpu", PredictorOptions(fps=2.0))
    first, second = ours([str(ten_seconds), ten_seconds])
    assert np.array_equal(first.masks, second.masks)
    assert first.masks.any()
    assert f"{ten_seconds.name}, 100 frames" in repr(first)
    assert repr(first.frame(20)).startswith("<FrameResult: frame 20 at 2.00 s")
    assert not ours(ten_seconds, waveform=np.zeros(160_000)).masks.any()
    clip = read_clip(ten_seconds)
    picture = ours(Image.fromarray(clip.frames[0]), waveform=clip.waveform[:16_000])
    assert picture.masks.shape == (1, *clip.frames.shape[1:3])
    assert len(first.plot(3).axes) == len(picture.plot().axes) + 2


@pytest.mark.parametrize(
    ("source", "more", "message"),
    [
        (RGB, {}, "pass waveform="),
        (iter([RGB]), {"waveform": SOUND}, "pass fps="),
        (["a.mp4"], {"waveform": SOUND}, "not with a list of paths"),
        ("a.mp4", {"fps": 3.0}, "its own frame rate"),
        (
            [RGB, "a.mp4"],
            {"waveform": SOUND},
            "frame 1 is an array, a tensor or a PIL picture, not str",
        ),
        (RGB, {"waveform": SOUND, "fps": 0.0}, "above 0"),
    ],
)
def test_what_does_not_go_together(source: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        VideoPredictor(ListeningModel(32), "cpu").predict(source, **more)
