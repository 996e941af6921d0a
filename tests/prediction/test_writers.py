"""Every kind of output, read back by other libraries: PyAV, OpenCV, PIL, NumPy and plain loops."""

import inspect
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from flash_clip import FPS, HEIGHT, WIDTH, flash_time, loud_span
from listening_model import ListeningModel
from odd_videos import OddVideo, Track

from ecmvae.arguments import parse
from ecmvae.data.rle import run_lengths
from ecmvae.data.video import probe, read_clip
from ecmvae.errors import UserError
from ecmvae.prediction import predictor, saving
from ecmvae.prediction.command import predict
from ecmvae.prediction.options import PredictorOptions, WriterOptions
from ecmvae.prediction.predictor import VideoPredictor
from ecmvae.prediction.result import FrameResult, VideoResult
from ecmvae.prediction.saving import write_outputs
from ecmvae.prediction.torch_engine import TorchEngine
from ecmvae.prediction.writers import WRITERS, writer_for
from ecmvae.prediction.writers.base import FrameWriter


def truth(result: VideoResult) -> np.ndarray:
    masks = np.zeros((48, HEIGHT, WIDTH), bool)
    late = result.timestamps > 1.0  # half-way between key frames 3 and 4
    masks[late, :, : WIDTH // 2] = True
    return masks


def test_masks_follow_from_the_key_frames(result: VideoResult) -> None:
    assert (result.masks == truth(result)).mean() > 0.99
    assert np.array_equal(np.stack([frame.mask for frame in result]), result.masks)
    assert result.masked_area == pytest.approx(result.masks.mean(axis=(1, 2)), abs=0.02)


def test_overlay_keeps_size_rate_sound_and_time(
    tmp_path: Path, video: Path, result: VideoResult
) -> None:
    path = result.save(tmp_path / "a.mp4")
    info = probe(path)
    assert (info.width, info.height, info.fps) == (WIDTH, HEIGHT, FPS)
    source, drawn = read_clip(video), read_clip(path)
    assert np.abs(source.timestamps - drawn.timestamps).max() < 1e-3
    assert loud_span(drawn.waveform) == pytest.approx((1.0, 1.2), abs=2e-3)
    assert flash_time(drawn.frames, drawn.timestamps) == pytest.approx(1.0, abs=1 / FPS)
    change = np.abs(source.frames.astype(int) - drawn.frames).mean(axis=-1)
    strip = round(HEIGHT * 0.08)
    assert change[:24, : -strip - 2].mean() < 4  # nothing sounds yet: only compression
    assert change[30:, : -strip - 2, : WIDTH // 2 - 2].mean() > 25  # tinted
    assert change[30:, : -strip - 2, WIDTH // 2 + 4 :].mean() < 4


def flashes_and_beeps(path: Path) -> tuple[list[float], list[float]]:
    """Where they begin, in seconds, decoded by PyAV alone."""
    flashes, beeps, bright, loud_until = [], [], False, -1.0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0, audio=0):
            if isinstance(frame, av.VideoFrame):
                luma = frame.to_ndarray(format="gray").mean()
                if luma > 140 and not bright:
                    flashes.append(frame.time)
                bright = luma > 140
                continue
            loud = (
                np.flatnonzero(np.abs(frame.to_ndarray()[0]) > 0.1) / frame.sample_rate + frame.time
            )
            if len(loud) and loud[0] - loud_until > 1.0:
                beeps.append(float(loud[0]))
            loud_until = float(loud[-1]) if len(loud) else loud_until
    return flashes, beeps


@pytest.mark.parametrize(
    ("rate", "codec", "suffix"),
    [
        (Fraction(30_000, 1001), "aac", ".mp4"),
        (Fraction(24), "libopus", ".mkv"),  # encoded again
    ],
)
def test_sound_and_picture_of_an_overlay_do_not_drift(
    tmp_path: Path, rate: Fraction, codec: str, suffix: str
) -> None:
    """Half a minute with a flash and a beep every ten seconds: the first pair and the last stay together."""
    count = round(30 * rate)
    flash = {round((5 + 10 * number) * rate) for number in range(3)}
    clock = np.arange(30 * 48_000) / 48_000
    loud = np.zeros(len(clock), bool)
    for index in flash:
        start = float(index / rate)
        loud |= (clock >= start) & (clock < start + 0.1)
    tone = (0.5 * np.sin(2 * np.pi * 440 * clock) * loud).astype(np.float32)
    frames = [
        np.full((32, 48, 3), 255 if index in flash else 20, np.uint8) for index in range(count)
    ]
    source = OddVideo(frames, rate=rate, tracks=[Track(tone[None], codec=codec)]).write(
        tmp_path / f"source{suffix}"
    )
    options = PredictorOptions(fps=0.5)
    windows = VideoPredictor(ListeningModel(32), "cpu", options).stream(source)
    write_outputs(windows, source, {"overlay": tmp_path / "overlay.mp4"})
    flashes, beeps = flashes_and_beeps(tmp_path / "overlay.mp4")
    assert len(flashes) == len(beeps) == 3
    assert np.array(flashes) == pytest.approx(
        [float(index / rate) for index in sorted(flash)], abs=2e-3
    )
    for event in (0, -1):
        # half a frame, to be strict
        assert abs(beeps[event] - flashes[event]) < float(1 / rate) / 2


def test_overlay_with_uncertainty_has_a_second_picture(
    tmp_path: Path, video: Path, result: VideoResult
) -> None:
    options = WriterOptions(uncertainty=True, loudness=False, style="spotlight")
    maps = result.key_probabilities.copy()
    maps[:, :, 32:] = 0.5
    unsure = replace(result, key_probabilities=maps)
    write_outputs([unsure], video, {"overlay": tmp_path / "a.mp4"}, options=options)
    frames = read_clip(tmp_path / "a.mp4").frames
    assert frames.shape[1:3] == (HEIGHT, 2 * WIDTH)
    assert frames[40, :, WIDTH + 70 :].mean() > 200  # fully uncertain: bright
    assert frames[40, :, WIDTH : WIDTH + 50].mean() < 20
    spotlight, source = frames[40, :, :WIDTH], read_clip(video).frames[40]
    assert np.abs(spotlight[:, :50].astype(int) - source[:, :50]).mean() < 5
    assert spotlight[:, 70:].mean() == pytest.approx(0.3 * source[:, 70:].mean(), rel=0.1)


def test_cutout_is_transparent_where_nothing_sounds(tmp_path: Path, result: VideoResult) -> None:
    path = result.save(tmp_path / "a.webm")
    with av.open(str(path)) as container:
        assert container.streams.video[0].metadata.get("alpha_mode") == "1"
        assert container.streams.audio[0].codec_context.name in ("opus", "libopus")
        decoder = av.CodecContext.create("libvpx-vp9", "r")
        decoder.thread_count = 1
        alphas = []
        for packet in container.demux(video=0):
            if packet.size:
                frame = decoder.decode(packet)[0]
                plane = frame.planes[3]
                alphas.append(
                    np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, :WIDTH]
                    > 127
                )
    assert len(alphas) == 48
    assert (np.stack(alphas) == truth(result)).mean() > 0.98


def test_mask_video_as_opencv_sees_it(tmp_path: Path, video: Path, result: VideoResult) -> None:
    write_outputs([result], video, {"mask_video": tmp_path / "a.mp4"})
    capture, masks = cv2.VideoCapture(str(tmp_path / "a.mp4")), []
    while (read := capture.read())[0]:
        masks.append(read[1][..., 0] > 127)
    assert (np.stack(masks) == truth(result)).mean() > 0.98


def test_arrays_as_numpy_sees_them(tmp_path: Path, result: VideoResult) -> None:
    with np.load(result.save(tmp_path / "a.npz")) as arrays:
        assert np.array_equal(arrays["masks"], result.masks)
        assert arrays["timestamps"] == pytest.approx(result.timestamps)
        assert arrays["audio_activity"] == pytest.approx(result.audio_activity)
        assert arrays["mean_probability"] == pytest.approx(
            result.probabilities.mean(axis=(1, 2)), abs=1e-5
        )
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_all_kinds_in_one_pass_and_a_summary(
    tmp_path: Path, video: Path, result: VideoResult
) -> None:
    times: list[float] = []
    targets = {name: tmp_path / f"x{WRITERS.get(name).ending}" for name in WRITERS}
    summary = write_outputs([result], video, targets, on_frame=times.append)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in targets.values()}
    assert times == pytest.approx(result.timestamps)
    assert summary.frames == 48
    assert summary.sounding == pytest.approx(result.masks.any(axis=(1, 2)).mean())
    assert summary.area == pytest.approx(result.masks.mean())
    assert summary.highest == pytest.approx(float(result.key_probabilities.max()))
    # no frame between exceeds its key frames
    assert summary.highest >= result.probabilities.max() - 1e-3


def test_failure_leaves_nothing_behind(tmp_path: Path, video: Path, result: VideoResult) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    targets = {name: tmp_path / f"x{WRITERS.get(name).ending}" for name in WRITERS}
    with pytest.raises(KeyboardInterrupt):
        write_outputs([result], video, targets, on_frame=interrupted)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unasked(tmp_path: Path, result: VideoResult) -> None:
    (tmp_path / "a.npz").write_text("precious")
    with pytest.raises(UserError, match="exists"):
        result.save(tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_text() == "precious"
    result.save(tmp_path / "masks")
    result.save(tmp_path / "masks", overwrite=True)
    assert len(list((tmp_path / "masks").iterdir())) == 48


def test_unknown_suffix_is_refused() -> None:
    with pytest.raises(UserError, match=r"unknown kind of output '\.docx'"):
        writer_for(Path("a.docx"))


class TimesWriter(FrameWriter):
    """A format from outside the package: the time and masked area of every frame, one a line."""

    ending, suffixes, label = ".times.txt", (".txt",), "Times"

    def open(self) -> None:
        self.file = self.stack.enter_context(self.part.open("w"))

    def write(self, frame: np.ndarray, result: FrameResult) -> None:
        assert frame.shape[:2] == (self.info.height, self.info.width)
        print(result.time, result.mask.mean(), file=self.file)


TOY = f"{__name__}:TimesWriter"


@pytest.fixture
def registered() -> Iterator[str]:
    WRITERS.register("times")(TimesWriter)
    yield "times"
    del WRITERS._entries["times"]


def test_a_format_from_outside(tmp_path: Path, result: VideoResult, registered: str) -> None:
    assert writer_for(tmp_path / "a.txt") == registered
    for number, writer in enumerate([None, registered, TOY, TimesWriter]):
        rows = np.loadtxt(result.save(tmp_path / f"{number}.txt", writer))
        assert rows[:, 0] == pytest.approx(result.timestamps)
        assert rows[:, 1] == pytest.approx(result.masks.mean(axis=(1, 2)))


@pytest.mark.parametrize("name", ["registered", "import path"])
def test_predict_with_a_format_from_outside(
    tmp_path: Path, video: Path, name: str, monkeypatch: pytest.MonkeyPatch, registered: str
) -> None:
    monkeypatch.setattr(
        predictor, "open_engine", lambda *_, **__: TorchEngine(ListeningModel(32, 2))
    )
    arguments = {
        "checkpoint": "any",
        "device": "cpu",
        "also": registered if name == "registered" else TOY,
    }
    assert predict([str(video)], out=tmp_path / "out", **arguments) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "flash.overlay.mp4",
        "flash.times.txt",
    }
    assert predict([str(video)], out=tmp_path / "a.txt", **arguments) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"out", "a.txt"}
    with pytest.raises(
        UserError, match="unknown output format 'gif': choose from overlay, mask_video"
    ):
        predict([str(video)], out=tmp_path / "out", also=["gif"])
    with pytest.raises(UserError, match=r"lacks \.ending and \.suffixes and \.write"):
        predict([str(video)], out=tmp_path / "out", also=["collections:OrderedDict"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [([], ""), (["times"], "times"), ([TOY], TOY), ([f"[times, {TOY}]"], ["times", TOY])],
)
def test_further_formats_on_the_command_line(words: list[str], expected: str | list[str]) -> None:
    given = ["--also", *words] if words else []
    assert parse(predict, "ecmvae predict", ["a.mp4", *given])["also"] == expected


def test_every_format_has_a_switch_of_predict() -> None:
    assert set(WRITERS) <= set(inspect.signature(predict).parameters)


@pytest.mark.parametrize("fill", ["empty", "full", "random", "first"])
def test_run_lengths(fill: str) -> None:
    mask = np.zeros((5, 7), bool)
    if fill == "full":
        mask[:] = True
    elif fill == "random":
        mask = np.random.default_rng(0).random((5, 7)) > 0.5
    elif fill == "first":
        mask[0, 0] = True
    runs = run_lengths(mask)
    expected, value, length = [], False, 0
    for pixel in mask.T.ravel():
        if pixel != value:
            expected.append(length)
            value, length = pixel, 0
        length += 1
    assert runs == [*expected, length]


def test_plot_shows_frames_and_curves(result: VideoResult) -> None:
    figure = result.plot(count=4)
    *pictures, left, right = figure.axes
    assert [axes.get_title() for axes in pictures] == ["0.00 s", "0.67 s", "1.29 s", "1.96 s"]
    assert [line.get_label().partition(" (")[0] for line in (*left.lines, *right.lines)] == [
        "loudness", "masked share", "uncertainty, bits",
    ]  # fmt: skip
    assert left.lines[0].get_ydata() == pytest.approx(result.audio_activity)
    assert right.lines[0].get_ydata() == pytest.approx(result.masked_area)
    assert right.get_ylim()[1] >= result.masked_area.max()


def test_a_plot_without_matplotlib_says_what_to_install(
    result: VideoResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"a plot needs matplotlib: pip install 'ecmvae\[train\]'"):
        result.plot()


def test_masks_alone_are_the_same_without_decoding_the_video_again(
    tmp_path: Path, video: Path, result: VideoResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [name for name in WRITERS if not WRITERS.get(name).uses_frame]
    assert set(WRITERS) - set(alone) == {"overlay", "cutout"}
    beside = {name: tmp_path / f"beside{WRITERS.get(name).ending}" for name in alone}
    expected = write_outputs([result], video, {**beside, "cutout": tmp_path / "x.webm"})
    monkeypatch.setattr(saving, "stream_frames", lambda *_, **__: pytest.fail("decoded again"))
    targets = {name: tmp_path / f"alone{WRITERS.get(name).ending}" for name in alone}
    found = write_outputs([result], video, targets)
    assert replace(found, seconds=expected.seconds) == expected
    assert found.seconds == pytest.approx(expected.seconds, abs=1e-6)
    for name in ("coco", "jsonl"):
        assert targets[name].read_bytes() == beside[name].read_bytes()
    assert np.array_equal(
        read_clip(targets["mask_video"]).frames, read_clip(beside["mask_video"]).frames
    )
