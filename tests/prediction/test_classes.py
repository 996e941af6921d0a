"""Classes from logits to files: what a model of several classes says about a video, read back by other libraries."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from flash_clip import FPS, SAMPLE_RATE, beep, flash_frames
from listening_model import ListeningModel
from PIL import Image

from ecmvae.data.letterbox import Letterbox
from ecmvae.data.video import read_clip, write_video
from ecmvae.prediction import render
from ecmvae.prediction.classes import PALETTE, by_area, class_name, foreground_and_classes
from ecmvae.prediction.predictor import PredictorOptions, VideoPredictor
from ecmvae.prediction.result import VideoResult
from ecmvae.prediction.saving import write_outputs
from ecmvae.prediction.writers import WRITERS

HEIGHT, WIDTH = 96, 128
NAMES = ("background", "lamp", "cat", "dog")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "flash.mp4"
    write_video(path, flash_frames(WIDTH, HEIGHT), FPS, beep(), SAMPLE_RATE)
    return path


@pytest.fixture(scope="module")
def result(video: Path) -> VideoResult:
    """The left half sounds from the first second on: a cat above a dog, which changes to a lamp at 1.5 s."""
    maps = np.zeros((8, 48, 64), np.float16)
    maps[4:, :, :32] = 1.0
    classes = np.full((8, 48, 64), 2, np.uint8)
    classes[:, 24:] = 3
    classes[6:, 24:] = 1
    return VideoResult(
        path=video,
        geometry=Letterbox(height=HEIGHT, width=WIDTH, side=64),
        threshold=0.5,
        first_index=0,
        audio_track=0,
        timestamps=np.arange(48) / FPS,
        audio_activity=np.linspace(0, 1, 48).astype(np.float32),
        key_times=(np.arange(8) + 0.5) / 4,
        key_probabilities=maps,
        key_classes=classes,
        class_names=NAMES,
    )


def truth(result: VideoResult) -> np.ndarray:
    classes = np.zeros((48, HEIGHT, WIDTH), np.uint8)
    for frame, time in zip(classes, result.timestamps, strict=True):
        if time > 1.0:  # half-way between key frames 3 and 4
            frame[: HEIGHT // 2, : WIDTH // 2] = 2
            frame[HEIGHT // 2 :, : WIDTH // 2] = 3 if time <= 1.5 else 1
    return classes


def test_one_channel_knows_no_classes() -> None:
    probability, classes = foreground_and_classes(np.zeros((2, 1, 3, 1, 4, 4)))
    assert classes is None
    assert np.array_equal(probability, np.full((1, 3, 4, 4), 0.5))


def test_the_mean_over_draws_and_the_likeliest_class_but_the_background() -> None:
    shares = np.array([[0.7, 0.1, 0.2], [0.1, 0.8, 0.1]])  # of two draws, at every pixel
    drawn = np.broadcast_to(np.log(shares).reshape(2, 1, 1, 3, 1, 1), (2, 1, 1, 3, 4, 4))
    probability, classes = foreground_and_classes(drawn)
    assert np.allclose(probability, 0.6)
    assert np.array_equal(classes, np.ones((1, 1, 4, 4), np.uint8))
    _, unlikely = foreground_and_classes(drawn[:1])
    assert np.array_equal(unlikely, np.full((1, 1, 4, 4), 2, np.uint8))


def test_names_and_areas() -> None:
    assert [class_name(k, NAMES) for k in (1, 7)] == ["lamp", "class 7"]
    assert by_area(np.array([[0, 0, 3], [2, 3, 0]], np.uint8)) == [3, 2]


def test_classes_at_source_size(result: VideoResult) -> None:
    assert (result.classes == truth(result)).mean() > 0.99
    assert np.array_equal(result.classes > 0, result.masks)
    assert replace(result, key_classes=None).classes is None
    halves = [
        replace(
            result,
            timestamps=result.timestamps[frames],
            audio_activity=result.audio_activity[frames],
            key_times=result.key_times[keys],
            key_probabilities=result.key_probabilities[keys],
            key_classes=result.key_classes[keys],
        )
        for frames, keys in ((slice(0, 27), slice(0, 5)), (slice(27, 48), slice(4, 8)))
    ]
    assert np.array_equal(VideoResult.join(halves).classes, result.classes)


def test_files(result: VideoResult, video: Path, tmp_path: Path) -> None:
    targets = {
        name: tmp_path / f"x{WRITERS.get(name).ending}"
        for name in ("overlay", "masks", "coco", "npz")
    }
    write_outputs([result], video, targets)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in targets.values()}
    with np.load(targets["npz"]) as arrays:
        assert np.array_equal(arrays["classes"], result.classes)
        assert np.array_equal(arrays["masks"], result.masks)
        assert tuple(arrays["class_names"]) == NAMES
    pictures = [Image.open(path) for path in sorted(targets["masks"].iterdir())]
    assert np.array_equal(np.stack([np.asarray(picture) for picture in pictures]), result.classes)
    assert pictures[40].convert("RGB").getpixel((0, 0)) == tuple(PALETTE[2])
    document = json.loads(targets["coco"].read_text())
    assert document["categories"] == [{"id": k, "name": NAMES[k]} for k in (2, 3, 1)]
    areas = {
        (each["image_id"], each["category_id"]): each["area"] for each in document["annotations"]
    }
    assert areas == {
        (k, number): (frame == number).sum()
        for k, frame in enumerate(result.classes)
        for number in by_area(frame)
    }
    drawn, source = (read_clip(path).frames.astype(int) for path in (targets["overlay"], video))
    # a lamp's quarter, below the legend
    tint = drawn[40, 70:80, 20:40] - source[40, 70:80, 20:40] * 0.55
    assert np.abs(tint.mean((0, 1)) - 0.45 * PALETTE[1]).max() < 12
    assert np.abs(drawn[40, :80, 70:] - source[40, :80, 70:]).mean() < 4


def test_drawing_leaves_the_rest_alone() -> None:
    frame = np.full((60, 80, 3), 200, np.uint8)
    classes = np.zeros((60, 80), np.uint8)
    classes[30:50, 10:30] = 5
    drawn = render.object_overlay(frame, [(classes == 5, tuple(PALETTE[5].tolist()))])
    assert (drawn[classes == 0] == 200).all()
    assert (drawn[40, 20] == np.round(200 * 0.55 + 0.45 * PALETTE[5])).all()
    assert (drawn[30, 10] == PALETTE[5]).all()  # the outline
    named = render.with_legend(frame, [("cat", (64, 0, 128))])
    assert (named == (64, 0, 128)).all(axis=2).sum() > 20
    assert (frame == 200).all()


class NamingModel(ListeningModel):
    """Says "cat" in the upper half and "dog" below, where the listening model marks something."""

    class_names = NAMES

    def forward(self, frames, audio, latents="sample", **rest):  # type: ignore[no-untyped-def]
        output = super().forward(frames, audio, latents=latents, **rest)
        marked = output.logits
        others = torch.full_like(marked, -20.0)
        cat, dog = marked.clone(), marked.clone()
        cat[..., marked.shape[-2] // 2 :, :] = -20.0
        dog[..., : marked.shape[-2] // 2, :] = -20.0
        return replace(
            output, logits=torch.cat([torch.zeros_like(marked), others, cat, dog], dim=2)
        )


def test_a_video_from_end_to_end() -> None:
    frames = np.zeros((30, HEIGHT, WIDTH, 3), np.uint8)
    frames[:, 24:72, 32:96] = 255
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE)).astype(
        np.float32
    )
    options = PredictorOptions(smoothing=0.0, squash=True)
    plain, named = (
        VideoPredictor(model, "cpu", options).predict_arrays(frames, 10.0, tone)
        for model in (ListeningModel(), NamingModel())
    )
    assert named.masks.any()
    assert np.array_equal(named.masks, plain.masks)
    assert set(np.unique(named.classes[:, : HEIGHT // 2])) == {0, 2}
    assert set(np.unique(named.classes[:, HEIGHT // 2 :])) == {0, 3}
    assert (named.class_names, plain.classes) == (NAMES, None)
