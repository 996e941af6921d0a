"""Everything people throw at a program in one folder: right masks or one clear line each, and nothing half-written."""

import logging
import os
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import soundfile
from flash_clip import FPS, SAMPLE_RATE, beep, flash_frames
from listening_model import ListeningModel
from odd_videos import OddVideo, Track

from ecmvae.data.video import container, probe, read_clip, write_video
from ecmvae.prediction import predictor
from ecmvae.prediction.command import predict
from ecmvae.prediction.torch_engine import TorchEngine

SOUND = np.stack([beep(sample_rate=48_000)] * 2)
NOT_UTF_8 = os.fsdecode(b"caf\xe9.mp4")


def corpus(folder: Path) -> tuple[dict[str, int], dict[str, str]]:
    """Fill a folder; returns the frames of the good files and what is to be said about the bad ones."""
    write_video(folder / "good.mp4", flash_frames(), FPS, beep(), SAMPLE_RATE)
    data = (folder / "good.mp4").read_bytes()
    body = data.index(b"mdat")
    bad = {
        "zero.mp4": (b"", "is empty"),
        "text.mp4": (b"once upon a time\n" * 99, "not a video"),
        "headless.mp4": (data[:200], "neither picture nor sound"),
        "bodyless.mp4": (data[: body + 4], "not one frame"),
    }
    for name, (content, _) in bad.items():
        (folder / name).write_bytes(content)
    soundfile.write(folder / "song.wav", np.zeros(16_000), 16_000)
    (folder / "song.wav").rename(folder / "song.mp4")
    messages = {name: message for name, (_, message) in bad.items()}
    messages |= {"song.mp4": "has only sound", "locked.mp4": "Permission denied"}
    day = bytearray(data)
    at = day.index(b"mvhd") + 16
    day[at + 4 : at + 8] = (int.from_bytes(day[at : at + 4], "big") * 86_400).to_bytes(4, "big")
    for name in ("day.mp4", 'it\'s a "film".mp4', "two\nlines.mp4", NOT_UTF_8):
        (folder / name).write_bytes(day)
    small = flash_frames(16, 16, count=6, flash=3)
    OddVideo(flash_frames()).write(folder / "video only.mp4")
    OddVideo(
        flash_frames(count=1, flash=0), tracks=[Track(SOUND[:, :2_000], layout="stereo")]
    ).write(folder / "one.mkv")
    # H.264 pads it to 2x2
    write_video(folder / "1x1.mp4", flash_frames(1, 1, count=6, flash=3), FPS)
    OddVideo(
        flash_frames(1, 1, count=6, flash=3), pixel_format="rgb24", codec="png", options={}
    ).write(folder / "1x1.mov")
    OddVideo(flash_frames(8192, 2, count=6, flash=3)).write(folder / "wide.mp4")
    OddVideo(flash_frames(33, 17, count=6, flash=3), pixel_format="yuv444p").write(
        folder / "odd.mkv"
    )
    OddVideo(small, rate=Fraction(1)).write(folder / "1fps.mp4")
    OddVideo(flash_frames(16, 16, count=120), rate=Fraction(240)).write(folder / "240fps.mp4")
    OddVideo(small, rotation=90, tracks=[Track(SOUND, layout="stereo", codec="aac")]).write(
        folder / "phone.mp4"
    )
    once = OddVideo(flash_frames(), tracks=[Track(SOUND, layout="stereo", codec="aac")]).write(
        folder / "once.ts"
    )
    (folder / "jumps back.ts").write_bytes(once.read_bytes() * 2)
    (folder / "cut short.mp4").write_bytes(data[: body + (len(data) - body) * 2 // 3])
    holed = bytearray(data)
    middle = body + (len(data) - body) // 2
    holed[middle : middle + 600] = b"\xff" * 600
    (folder / "corrupt.mp4").write_bytes(holed)
    times = [0.0, 0.04, 0.5, 0.54, 0.58, 2.0]
    OddVideo(small, times=times, tracks=[Track(SOUND, layout="stereo")]).write(
        folder / "uneven.mkv"
    )
    deep = {"pixel_format": "yuv420p10le", "codec": "ffv1", "options": {}}
    OddVideo(flash_frames(), tracks=[Track(SOUND, layout="stereo")], **deep).write(
        folder / "10 bit.mkv"
    )
    six = Track(np.repeat(SOUND[:1], 6, axis=0), layout="5.1", codec="aac")
    OddVideo(flash_frames(), tracks=[six]).write(folder / "surround.mp4")
    OddVideo(flash_frames(), tracks=[Track(SOUND, layout="stereo", start=0.5)]).write(
        folder / "late.mkv"
    )
    OddVideo(flash_frames(), tracks=[Track(SOUND[:, :57_600], layout="stereo")]).write(
        folder / "ends early.mkv"
    )
    tracks = [Track(SOUND, layout="stereo"), Track(0 * SOUND, layout="stereo")]
    OddVideo(flash_frames(), tracks=tracks).write(folder / "two tracks.mkv")
    (folder / "locked.mp4").write_bytes(data)
    (folder / "folder.mp4").mkdir()
    frames = {
        "good.mp4": 48, "day.mp4": 48, "it's a \"film\".mp4": 48, "two\nlines.mp4": 48, NOT_UTF_8: 48,
        "video only.mp4": 48, "one.mkv": 1, "1x1.mp4": 6, "1x1.mov": 6, "wide.mp4": 6, "odd.mkv": 6, "1fps.mp4": 6,
        "240fps.mp4": 120, "phone.mp4": 6, "once.ts": 48, "jumps back.ts": 96, "uneven.mkv": 6, "10 bit.mkv": 48,
        "surround.mp4": 48, "late.mkv": 48, "ends early.mkv": 48, "two tracks.mkv": 48,
        "cut short.mp4": len(read_clip(folder / "cut short.mp4").frames),
        "corrupt.mp4": len(read_clip(folder / "corrupt.mp4").frames),
    }  # fmt: skip
    assert 1 < frames["cut short.mp4"] < 48
    assert 24 < frames["corrupt.mp4"] <= 48
    return frames, messages


BEEPS = dict.fromkeys(
    ["good.mp4", "day.mp4", "it's a \"film\".mp4", "two\nlines.mp4", NOT_UTF_8, "once.ts", "10 bit.mkv", "surround.mp4",
     "ends early.mkv", "two tracks.mkv"], 1.1
) | {"late.mkv": 1.6}  # fmt: skip
"""When the box is heard, in seconds."""


def assert_right_masks(path: Path, heard: float) -> None:
    """The box is masked when it is heard, and nothing half a second of hearing and a bit of smoothing before."""
    with np.load(path) as arrays:
        masks, times = arrays["masks"], arrays["timestamps"]
    index = int(np.abs(times - heard).argmin())
    truth = np.zeros((90, 120), bool)
    left = 120 * index // 96
    truth[22:67, left : left + 40] = True
    assert (masks[index] & truth).sum() / (masks[index] | truth).sum() > 0.6
    assert not masks[times < heard - 1.0].any()


@pytest.fixture
def _locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """`locked.mp4` may not be read, whoever runs the tests: root may read everything."""
    real = container.open_regular

    def guarded(path: Path) -> BinaryIO:
        if path.name == "locked.mp4":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(container, "open_regular", guarded)


@pytest.mark.usefixtures("_locked")
def test_everything_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        predictor, "open_engine", lambda *_, **__: TorchEngine(ListeningModel(32, 5, level=0.5))
    )
    sources, out = tmp_path / "in", tmp_path / "out"
    sources.mkdir()
    frames, messages = corpus(sources)
    with caplog.at_level(logging.ERROR, "ecmvae"):
        assert (
            predict(
                [str(sources)], out=out, checkpoint="any", device="cpu", loudness=False, npz=True
            )
            == 2
        )
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == len(messages) + 1
    assert all("\n" not in error for error in errors)
    for name, message in messages.items():
        assert any(name in error and message in error for error in errors)
    assert errors[-1] == f"{len(messages)} of {len(messages) + len(frames)} videos failed"
    assert len(capsys.readouterr().out.splitlines()) == len(frames)
    assert len(list(out.iterdir())) == 2 * len(frames)
    for name, count in frames.items():
        stem = name if name.startswith("1x1") else Path(name).stem  # two files share that stem
        drawn, source = out / f"{stem}.overlay.mp4", sources / name
        assert probe(drawn).width == probe(source).width + probe(source).width % 2
        clip = read_clip(drawn)
        assert len(clip.frames) == count
        original = read_clip(source)
        assert np.abs(clip.timestamps - original.timestamps).max() < 2e-3
        overlap = min(len(clip.waveform), len(original.waveform))
        if original.waveform.any():  # the sound is still there, in time
            kept, given = clip.waveform[:overlap], original.waveform[:overlap]
            assert np.corrcoef(kept, given)[0, 1] > 0.98
        if name in BEEPS:
            assert_right_masks(out / f"{stem}.npz", BEEPS[name])
