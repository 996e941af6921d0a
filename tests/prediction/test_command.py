"""The predict command as a user runs it: outputs, resuming, refusing, going on after a bad file."""

import json
import logging
import os
import signal
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import av
import numpy as np
import pytest
from flash_clip import FPS, SAMPLE_RATE, beep, flash_frames
from listening_model import ListeningModel
from odd_videos import OddVideo, Track

from ecmvae.data.video import probe, read_clip, write_video
from ecmvae.errors import UserError
from ecmvae.hub.find import default_model
from ecmvae.prediction import predictor, saving
from ecmvae.prediction.command import predict
from ecmvae.prediction.result import FrameResult
from ecmvae.prediction.torch_engine import TorchEngine
from ecmvae.prediction.writers.npz import NpzWriter


@pytest.fixture(autouse=True)
def _known_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        predictor, "open_engine", lambda *_, **__: TorchEngine(ListeningModel(32, 2))
    )


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(
        folder / "one.mp4", flash_frames(count=24, flash=4), FPS, beep(seconds=1.0), SAMPLE_RATE
    )
    (folder / "two.mp4").write_bytes((folder / "one.mp4").read_bytes())
    return folder


def run(*sources: Path, out: Path, **options: object) -> int:
    return predict(
        [str(source) for source in sources], out=out, checkpoint="any", device="cpu", **options
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_folder_out(tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(videos / "one.mp4", out=tmp_path / "out", masks=True, npz=True) == 0
    assert names(tmp_path / "out") == ["one.masks", "one.npz", "one.overlay.mp4"]
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert "24 frames" in line


def test_nothing_found_says_how_near_it_was(
    tmp_path: Path, videos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    highest = float(
        predictor.VideoPredictor("any", "cpu").predict(videos / "one.mp4").key_probabilities.max()
    )
    assert run(videos / "one.mp4", out=tmp_path / "found", threshold=highest / 2) == 0
    assert "nothing reaches" not in caplog.text
    assert run(videos / "one.mp4", out=tmp_path / "missed", threshold=min(2 * highest, 0.9999)) == 0
    assert (
        f"the highest probability is {highest:.3g}, and --style heatmap shows them all"
        in caplog.text
    )


def test_file_out(tmp_path: Path, videos: Path) -> None:
    assert run(videos / "one.mp4", out=tmp_path / "x.mp4", coco=True) == 0
    assert names(tmp_path) == ["videos", "x.coco.json", "x.mp4"]
    assert run(videos / "one.mp4", out=tmp_path / "y.webm") == 0
    assert probe(tmp_path / "y.webm").codec == "vp9"


def test_never_overwrites_without_force(tmp_path: Path, videos: Path) -> None:
    run(videos / "one.mp4", out=tmp_path / "x.mp4")
    before = (tmp_path / "x.mp4").stat().st_mtime_ns
    with pytest.raises(UserError, match="exists: choose another --out, or replace it with --force"):
        run(videos / "one.mp4", out=tmp_path / "x.mp4")
    assert (tmp_path / "x.mp4").stat().st_mtime_ns == before
    assert run(videos / "one.mp4", out=tmp_path / "x.mp4", force=True) == 0
    assert (tmp_path / "x.mp4").stat().st_mtime_ns != before


def test_never_writes_over_the_source(videos: Path) -> None:
    with pytest.raises(UserError, match="is the source itself"):
        run(videos / "one.mp4", out=videos / "one.mp4", force=True)


def test_folder_goes_on_after_a_bad_file_and_can_be_resumed(
    tmp_path: Path,
    videos: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (videos / "broken.mp4").write_text("no video")
    (videos / "silent\nnight.mp4").write_bytes((videos / "one.mp4").read_bytes())
    with caplog.at_level(logging.ERROR, "ecmvae"):
        assert run(videos, out=tmp_path / "out") == 2
    assert names(tmp_path / "out") == [
        "one.overlay.mp4",
        "silent\nnight.overlay.mp4",
        "two.overlay.mp4",
    ]
    assert [record.message.count("\n") for record in caplog.records] == [0, 0]
    assert "broken.mp4 is not a video" in caplog.text
    assert "1 of 4 videos failed" in caplog.text
    capsys.readouterr()
    (tmp_path / "out/two.overlay.mp4").unlink()
    write_video(videos / "broken.mp4", flash_frames(count=6, flash=1), FPS)
    assert run(videos, out=tmp_path / "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith("done before, skipped") for line in lines] == [False, True, True, False]
    assert len(names(tmp_path / "out")) == 4


def only_the_second_packet_decodes(path: Path) -> Path:
    """Two packets of H.264, the first overwritten: decoders with threads give no frame, others give one."""
    options = {"preset": "ultrafast", "threads": "1", "g": "1", "x264-params": "annexb=0"}
    OddVideo(flash_frames(16, 16, count=2, flash=0), options=options).write(path)
    with av.open(str(path)) as container:
        first = bytes(next(container.demux(container.streams.video[0])))
    data = path.read_bytes()
    assert data.count(first[-40:]) >= 1
    path.write_bytes(data.replace(first, b"\xff" * len(first), 1))
    return path


@pytest.mark.skipif(
    len(os.sched_getaffinity(0)) == 1, reason="FFmpeg decodes with threads from two CPUs on"
)
def test_a_video_of_which_only_the_probe_sees_a_frame_fails_alone(
    tmp_path: Path, videos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = only_the_second_packet_decodes(videos / "bad.mkv")
    assert probe(bad).width == 16
    assert run(bad, videos / "one.mp4", out=tmp_path / "out") == 2
    assert names(tmp_path / "out") == ["one.overlay.mp4"]
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == [
        f"[1/2] not one frame of {bad} can be decoded: the file is damaged or cut short",
        "1 of 2 videos failed",
    ]


def test_a_picture_too_wide_for_the_encoder_fails_alone(
    tmp_path: Path, videos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wide = np.zeros((16, 16_390, 3), np.uint8)  # x264 takes 16,384 pixels
    OddVideo([wide] * 2, codec="ffv1", options={}).write(videos / "wide.mkv")
    assert run(videos / "wide.mkv", videos / "one.mp4", out=tmp_path / "out", loudness=False) == 2
    assert names(tmp_path / "out") == ["one.overlay.mp4"]
    assert "wide.overlay.mp4 with 16390 x 16 pixels: scale the video down" in caplog.text


def test_a_video_that_changes_between_its_two_decodings_fails_alone(
    tmp_path: Path, videos: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter = OddVideo(flash_frames(count=12, flash=4)).write(tmp_path / "shorter.mp4")
    real = saving.stream_frames
    swapped = {videos / "one.mp4": shorter}
    monkeypatch.setattr(
        saving, "stream_frames", lambda path, **options: real(swapped.get(path, path), **options)
    )
    assert run(videos, out=tmp_path / "out") == 2
    assert names(tmp_path / "out") == ["two.overlay.mp4"]
    assert "one.mp4 decoded to another number of frames the second time" in caplog.text


def test_a_mistake_of_the_program_stays_visible(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NpzWriter, "write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(videos, out=tmp_path / "out", npz=True)
    assert names(tmp_path / "out") == []


def test_outputs_beside_the_sources_are_not_sources_next_time(videos: Path) -> None:
    run(videos, out=videos, masks=True)
    assert run(videos, out=videos, masks=True) == 0
    assert names(videos) == [
        "one.masks",
        "one.mp4",
        "one.overlay.mp4",
        "two.masks",
        "two.mp4",
        "two.overlay.mp4",
    ]


def test_the_chosen_track_is_heard_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tone = beep(sample_rate=48_000)[None]
    tracks = [
        Track(0 * tone, codec="aac", language="deu"),
        Track(tone, codec="aac", language="eng"),
    ]
    source = OddVideo(flash_frames(), tracks=tracks).write(tmp_path / "two.mp4")
    for track, loudest in ((0, 0.0), (1, 0.85)):  # a sine of amplitude 0.5 has -9 dB
        assert run(source, out=tmp_path / "out", npz=True, audio_track=track, force=True) == 0
        with np.load(tmp_path / "out/two.npz") as arrays:
            assert arrays["audio_activity"].max() == pytest.approx(loudest, abs=0.02)
        assert len(probe(tmp_path / "out/two.overlay.mp4").audio_tracks) == 1
        assert read_clip(tmp_path / "out/two.overlay.mp4").waveform.any() == bool(track)
        assert f"has several audio tracks (0 deu, 1 eng): {track} is heard" in caplog.text


def test_a_folder_without_a_video_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").mkdir()
    with pytest.raises(UserError, match="no video in the folder"):
        run(tmp_path / "film.mp4", out=tmp_path / "out")
    assert names(tmp_path) == ["film.mp4"]


def test_a_single_bad_file_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_text("no video")
    with pytest.raises(UserError, match="not a video"):
        run(tmp_path / "bad.mp4", out=tmp_path / "out", masks=True, cutout=True)
    assert names(tmp_path) == ["bad.mp4"]


def test_a_killed_run_leaves_nothing_half_written_and_is_taken_up_again(
    tmp_path: Path, videos: Path
) -> None:
    out, write = tmp_path / "out", NpzWriter.write

    def dying(self: NpzWriter, frame: np.ndarray, result: FrameResult) -> None:
        write(self, frame, result)
        if result.index == 9 and (out / "one.npz").exists():
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        NpzWriter.write = dying  # type: ignore[method-assign]
        run(videos, out=out, masks=True, npz=True)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    left = names(out)
    assert [name for name in left if not name.startswith(".")] == [
        "one.masks",
        "one.npz",
        "one.overlay.mp4",
    ]
    assert len(left) > 3
    first = (out / "one.overlay.mp4").stat().st_mtime_ns
    assert run(videos, out=out, masks=True, npz=True) == 0
    assert names(out) == [
        f"{stem}{end}" for stem in ("one", "two") for end in (".masks", ".npz", ".overlay.mp4")
    ]
    assert (out / "one.overlay.mp4").stat().st_mtime_ns == first


def test_a_name_too_long_for_its_outputs_does_not_stop_the_others(
    tmp_path: Path, videos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (videos / ("x" * 248 + ".mp4")).write_bytes((videos / "one.mp4").read_bytes())
    assert run(videos, out=tmp_path / "out") == 2
    assert names(tmp_path / "out") == ["one.overlay.mp4", "two.overlay.mp4"]
    assert "File name too long" in caplog.text
    with pytest.raises(UserError, match="File name too long"):
        run(videos / ("x" * 248 + ".mp4"), out=tmp_path / "out")


def test_where_nothing_can_be_written_is_said_before_the_model_is_loaded(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "open_engine", lambda *_, **__: pytest.fail("loaded"))
    for sources in ([videos], [videos / "one.mp4"]):
        with pytest.raises(UserError, match=r"one.mp4 is not a folder"):
            run(*sources, out=videos / "one.mp4" / "out")


def test_the_summary_tells_the_length_of_the_video(
    tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    OddVideo(flash_frames(count=1, flash=0), rate=Fraction(2)).write(videos / "still.mkv")
    run(videos, out=tmp_path / "out")
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(", masks")[0].rpartition(": ")[2] for line in lines] == [
        "24 frames, 1.0 s", "1 frame, 0.5 s", "24 frames, 1.0 s",
    ]  # fmt: skip


def test_wanting_nothing_is_a_mistake(tmp_path: Path, videos: Path) -> None:
    with pytest.raises(UserError, match="no output is wanted"):
        run(videos / "one.mp4", out=tmp_path / "out", overlay=False)


def test_file_out_for_several_sources_is_a_mistake(tmp_path: Path, videos: Path) -> None:
    (tmp_path / "x.mp4").touch()
    with pytest.raises(UserError, match="need a folder"):
        run(videos, out=tmp_path / "x.mp4")


def test_without_a_model_it_says_make_demo(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text("{}")
    with pytest.raises(UserError, match="run make demo"):
        default_model(tmp_path, tmp_path / "runs")


def test_packaged_model_comes_first_then_the_newest_demo(tmp_path: Path) -> None:
    def model(folder: Path) -> Path:
        folder.mkdir(parents=True)
        (folder / "config.yaml").touch()
        (folder / "model.safetensors").touch()
        return folder

    old = model(tmp_path / "runs/demo-1/best")
    (tmp_path / "runs/demo-interrupted").mkdir()
    listed = {"summary": "", "sha256": sha256(b"").hexdigest(), "size": 0, "licence": "MIT"}
    far, near = {**listed, "source": "hf://someone/far@v1"}, {**listed, "source": "package"}
    (tmp_path / "models.yaml").write_text(json.dumps({"far": far, "small": near, "later": near}))
    # listed, but not part of this installation
    assert default_model(tmp_path, tmp_path / "runs") == old
    packaged = model(tmp_path / "small")
    model(tmp_path / "later")
    assert default_model(tmp_path, tmp_path / "runs") == packaged
    (packaged / "model.safetensors").write_bytes(b"other")
    with pytest.raises(UserError, match=r"damaged.*reinstall ecmvae"):
        default_model(tmp_path, tmp_path / "runs")
