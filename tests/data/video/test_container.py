"""Files that are no video: one clear line each, never a traceback from the depths."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from flash_clip import FPS, SAMPLE_RATE, beep, flash_frames
from odd_videos import OddVideo, Track

from ecmvae.data.video import frames, probe, read_clip, show_path, stream_frames, write_video
from ecmvae.errors import UserError


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "good.mp4"
    write_video(path, flash_frames(), FPS, beep(), SAMPLE_RATE)
    return path


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_clip(path)
    message = str(caught.value)
    assert "\n" not in message
    assert show_path(path) in message
    return message


def test_missing(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "none.mp4")


def test_folder(tmp_path: Path) -> None:
    assert "is a folder" in refused(tmp_path)


def test_zero_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    assert "is empty" in refused(tmp_path / "a.mp4")


def test_text_file_that_calls_itself_mp4(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("once upon a time\n" * 100)
    assert "not a video" in refused(tmp_path / "a.mp4")


def test_file_cut_short_before_its_index(tmp_path: Path) -> None:
    OddVideo(flash_frames()).write(tmp_path / "a.mp4")  # plain MP4: the index is at the end
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[: len(data) // 2])
    assert "not a video" in refused(tmp_path / "a.mp4")


def test_an_index_that_points_outside_the_file(tmp_path: Path) -> None:
    data = OddVideo(flash_frames(16, 16, count=2, flash=0)).write(tmp_path / "a.nut").read_bytes()
    # NUT ends with the distance back to its index, and a checksum
    back_to_index = (2**63 + 2**40).to_bytes(8, "big")
    (tmp_path / "a.nut").write_bytes(data + back_to_index + bytes(4))
    assert "not a video that can be read (Invalid argument)" in refused(tmp_path / "a.nut")


def test_a_picture_track_without_a_frame_is_refused_where_it_is_decoded(
    tmp_path: Path, good: Path
) -> None:
    data = good.read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[: data.index(b"mdat") + 4])
    with pytest.raises(UserError, match=r"not one frame of .*a\.mp4 can be decoded"):
        next(stream_frames(tmp_path / "a.mp4"))


def test_file_cut_short_after_its_index_gives_what_is_left(tmp_path: Path, good: Path) -> None:
    data = good.read_bytes()
    (tmp_path / "a.mp4").write_bytes(
        data[: data.index(b"mdat") + (len(data) - data.index(b"mdat")) * 2 // 3]
    )
    assert 1 <= len(read_clip(tmp_path / "a.mp4").frames) < 48


def test_header_without_a_single_frame(tmp_path: Path, good: Path) -> None:
    data = good.read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[: data.index(b"mdat") + 4])
    assert "not one frame" in refused(tmp_path / "a.mp4")


def test_sound_without_picture(tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.zeros(16_000, np.float32), 16_000)
    assert "has only sound" in refused(tmp_path / "a.wav")


def test_declared_duration_of_a_day_changes_nothing(tmp_path: Path, good: Path) -> None:
    data = bytearray(good.read_bytes())
    at = data.index(b"mvhd") + 4 + 4 + 8  # version+flags, two dates
    timescale = int.from_bytes(data[at : at + 4], "big")
    data[at + 4 : at + 8] = (timescale * 86_400).to_bytes(4, "big")
    (tmp_path / "day.mp4").write_bytes(data)
    assert len(read_clip(tmp_path / "day.mp4").frames) == 48


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may read everything, so for a moment be somebody who may not."""
    me = os.geteuid()
    if me:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(me)


@pytest.mark.parametrize("locked", ["file", "folder"])
def test_no_permission(good: Path, locked: str) -> None:
    assert len(read_clip(good).frames) == 48  # whatever is imported late is imported now
    with tempfile.TemporaryDirectory() as folder:  # pytest's own may be entered by their owner only
        Path(folder).chmod(0o755)
        inner = Path(folder) / "inner"
        inner.mkdir()
        shutil.copy(good, inner / "a.mp4")
        target = inner / "a.mp4" if locked == "file" else inner
        target.chmod(0)
        with without_privileges():
            assert "Permission denied" in refused(inner / "a.mp4")
        target.chmod(0o700)


@pytest.mark.parametrize(
    "name", ['it\'s a "clip".mp4', "two\nlines.mp4", "concat:a|b.mp4", "%03d.mp4", "ümlaut 猫.mp4"]
)
def test_any_name(tmp_path: Path, good: Path, name: str) -> None:
    shutil.copy(good, tmp_path / name)
    assert probe(tmp_path / name).width == 120
    assert "\n" not in show_path(tmp_path / name)


def test_name_that_is_not_utf_8(tmp_path: Path, good: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4"))
    shutil.copy(good, path)
    assert probe(path).width == 120
    show_path(path).encode("utf-8")  # printable on any terminal


@pytest.mark.parametrize(
    "playlist", ["#EXTM3U\n#EXTINF:2,\n{}\n", "ffconcat version 1.0\nfile {}\n"]
)
def test_playlist_does_not_open_other_files(tmp_path: Path, good: Path, playlist: str) -> None:
    (tmp_path / "a.mp4").write_text(playlist.format(good))
    refused(tmp_path / "a.mp4")


def test_a_huge_timestamp_does_not_turn_the_clock_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FLV's reader gives damaged packets stamps near -2^63, beside which an eighth of a second is lost in rounding."""
    path = OddVideo(flash_frames(16, 16, count=6, flash=3), rate=Fraction(8)).write(
        tmp_path / "a.mkv"
    )
    real = frames.decoded

    def damaged(*arguments: object, **options: object) -> Iterator[list[object]]:
        for number, frame in enumerate(
            frame for each in real(*arguments, **options) for frame in each
        ):
            if number >= 3:
                frame.pts = -(2**63) + 2**20
            yield [frame]

    monkeypatch.setattr(frames, "decoded", damaged)
    assert [frame.time for frame in stream_frames(path)] == [number / 8 for number in range(6)]


def test_a_damaged_rate_does_not_make_hours_of_a_frame(tmp_path: Path) -> None:
    data = bytearray(
        OddVideo(flash_frames(16, 16, count=1, flash=0)).write(tmp_path / "a.mp4").read_bytes()
    )
    # name, version and flags, number of entries, samples of the first; then its duration
    at = data.index(b"stts") + 16
    data[at : at + 4] = (2**30).to_bytes(4, "big")
    (tmp_path / "b.mp4").write_bytes(data)
    assert probe(tmp_path / "b.mp4").fps < Fraction(1, 1000)
    assert [frame.duration for frame in stream_frames(tmp_path / "b.mp4")] == [10.0]


def test_sound_at_two_gigahertz_is_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """FFmpeg's resampler would need more memory than there is."""
    track = Track(np.ones((1, 2048), np.float32), rate=2**31 - 1)
    path = OddVideo(flash_frames(16, 16, count=2, flash=0), tracks=[track]).write(
        tmp_path / "a.mkv"
    )
    with caplog.at_level(logging.WARNING, "ecmvae"):
        assert not read_clip(path).waveform.any()
    assert "has sound at 2147483647 Hz: treated as silence" in caplog.text
    write_video(
        tmp_path / "c.mp4", flash_frames(16, 16, count=2, flash=0), FPS, copy_audio_from=path
    )
    assert not read_clip(tmp_path / "c.mp4").waveform.any()


def test_sound_without_channels_is_written_as_silence(tmp_path: Path) -> None:
    """A damaged Matroska file may have an audio track whose decoder was never set up."""
    track = Track(np.full((1, 4800), 0.5, np.float32))
    path = OddVideo(flash_frames(16, 16, count=2, flash=0), tracks=[track]).write(
        tmp_path / "a.mkv"
    )
    data = path.read_bytes()
    channels = b"\x9f\x81\x01"  # Matroska's element of the number of channels, one byte long, 1
    assert data.count(channels) == 1
    (tmp_path / "b.mkv").write_bytes(data.replace(channels, b"\x9f\x81\x00"))
    assert probe(tmp_path / "b.mkv").audio_tracks[0].channels == 0
    write_video(
        tmp_path / "c.mp4",
        flash_frames(16, 16, count=2, flash=0),
        FPS,
        copy_audio_from=tmp_path / "b.mkv",
    )
    assert len(read_clip(tmp_path / "c.mp4").frames) == 2


def test_sound_whose_header_is_damaged_is_not_copied(tmp_path: Path, good: Path) -> None:
    """A muxer refuses a track of 14 MHz, or of no channels."""
    data = bytearray(good.read_bytes())
    # an MP4 entry of sound: reserved bytes, then channels, bits, rate
    at = data.index(b"mp4a") + 4 + 16
    assert int.from_bytes(data[at + 8 : at + 10], "big") == SAMPLE_RATE
    data[at : at + 2] = bytes(2)
    esds = data.index(b"esds")
    data[esds : esds + 4] = b"zzzz"  # which would set both right
    (tmp_path / "b.mp4").write_bytes(data)
    assert probe(tmp_path / "b.mp4").audio_tracks[0].channels == 0
    write_video(
        tmp_path / "c.mp4",
        flash_frames(16, 16, count=2, flash=0),
        FPS,
        copy_audio_from=tmp_path / "b.mp4",
    )
    assert len(read_clip(tmp_path / "c.mp4").frames) == 2


def test_a_frame_of_half_an_hour_can_be_written(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", flash_frames(16, 16, count=2, flash=0), Fraction(1, 2048))
    assert [frame.time for frame in stream_frames(tmp_path / "a.mp4")] == [0.0, 2048.0]
