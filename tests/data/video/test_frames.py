"""Videos as people have them, written by PyAV directly and read by our reader."""

import logging
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from flash_clip import FPS, SAMPLE_RATE, beep, flash_frames, flash_time, loud_span
from odd_videos import OddVideo, Track

from ecmvae.data.video import (
    OpenVideo,
    SoundReader,
    probe,
    read_clip,
    stream_frames,
    write_video,
)
from ecmvae.errors import UserError


def tone(rate: int, channels: int = 1) -> np.ndarray:
    return np.repeat(beep(sample_rate=rate)[None], channels, axis=0)


@pytest.mark.parametrize(
    ("name", "rate", "layout", "codec", "channels"),
    [
        ("a.mkv", 48_000, "mono", "pcm_s16le", 1),
        ("b.mkv", 8_000, "stereo", "pcm_u8", 2),
        ("c.mov", 96_000, "5.1", "pcm_s16le", 6),
        ("d.mkv", 44_100, "stereo", "flac", 2),
        ("e.mkv", 48_000, "stereo", "libopus", 2),
        ("f.mp4", 44_100, "5.1", "aac", 6),
        ("g.ts", 48_000, "stereo", "aac", 2),
        ("h.avi", 22_050, "mono", "pcm_s16le", 1),
    ],
)
def test_any_sound_becomes_mono_16_khz_in_time(
    tmp_path: Path, name: str, rate: int, layout: str, codec: str, channels: int
) -> None:
    track = Track(tone(rate, channels), rate, layout, codec)
    # AVI has no place for B-frames
    old = {"codec": "mpeg4", "options": {}} if name.endswith(".avi") else {}
    path = OddVideo(flash_frames(), tracks=[track], **old).write(tmp_path / name)
    clip = read_clip(path)
    assert clip.timestamps.shape == (48,)
    # Matroska counts in milliseconds
    assert len(clip.waveform) == pytest.approx(2 * SAMPLE_RATE, abs=32)
    assert clip.waveform.dtype == np.float32
    assert flash_time(clip.frames, clip.timestamps) == pytest.approx(1.0, abs=1e-3)
    assert loud_span(clip.waveform) == pytest.approx((1.0, 1.2), abs=0.01)
    # the channels are averaged, not summed: equal channels keep the level (AAC mutes a tone in 5.1's bass channel)
    assert np.abs(clip.waveform).max() == pytest.approx(0.5, abs=0.09)


def test_channels_are_averaged_and_resampled_like_an_independent_resampler(tmp_path: Path) -> None:
    import torch
    import torchaudio

    rng = np.random.default_rng(0)
    time = np.arange(2 * 48_000) / 48_000
    left = (
        sum(
            rng.normal() * np.sin(2 * np.pi * f * time + rng.uniform(0, 6))
            for f in (220, 700, 1900)
        )
        / 8
    )
    right = np.sin(2 * np.pi * 440 * time) / 4
    stereo = np.stack([left, right]).astype(np.float32)
    path = OddVideo(flash_frames(), tracks=[Track(stereo, 48_000, "stereo")]).write(
        tmp_path / "a.mkv"
    )
    expected = torchaudio.functional.resample(
        torch.from_numpy(stereo.mean(0)), 48_000, 16_000
    ).numpy()
    ours = read_clip(path).waveform
    inner = slice(400, 31_600)  # resamplers differ at the borders
    assert np.abs(ours[inner] - expected[inner]).max() < 2e-3


@pytest.mark.parametrize("start", [0.5, -0.25])
def test_sound_that_starts_late_or_early_keeps_its_place(tmp_path: Path, start: float) -> None:
    # the picture starts at 1 s of the file's clock
    track = Track(tone(48_000), start=1.0 + start)
    path = OddVideo(flash_frames(), start=1.0, tracks=[track]).write(tmp_path / "late.mkv")
    clip = read_clip(path)
    assert clip.timestamps[0] == 0.0
    assert loud_span(clip.waveform) == pytest.approx((1.0 + start, 1.2 + start), abs=5e-3)
    assert len(clip.waveform) == pytest.approx(2 * SAMPLE_RATE, abs=32)


def test_sound_that_ends_early_is_silent_after(tmp_path: Path) -> None:
    path = OddVideo(flash_frames(), tracks=[Track(tone(48_000)[:, :57_600])]).write(
        tmp_path / "short.mkv"
    )  # 1.2 s
    waveform = read_clip(path).waveform
    assert len(waveform) == pytest.approx(2 * SAMPLE_RATE, abs=32)
    assert np.all(waveform[round(1.25 * SAMPLE_RATE) :] == 0)


def test_several_tracks_can_be_chosen_from(tmp_path: Path) -> None:
    tracks = [Track(0 * tone(48_000), language="eng"), Track(tone(48_000), language="fra")]
    path = OddVideo(flash_frames(), tracks=tracks).write(tmp_path / "two.mkv")
    assert [track.language for track in probe(path).audio_tracks] == ["eng", "fra"]
    assert np.abs(read_clip(path).waveform).max() < 1e-3
    assert loud_span(read_clip(path, audio_track=1).waveform) == pytest.approx((1.0, 1.2), abs=2e-3)
    with pytest.raises(UserError, match="2 audio track"):
        read_clip(path, audio_track=2)


def test_no_sound_warns_and_is_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = OddVideo(flash_frames()).write(tmp_path / "mute.mp4")
    with caplog.at_level(logging.WARNING, "ecmvae"):
        clip = read_clip(path)
    assert "mute.mp4 has no sound: treated as silence" in caplog.text
    assert clip.waveform.shape == (2 * SAMPLE_RATE,)
    assert not clip.waveform.any()


@pytest.mark.parametrize(
    ("pixel_format", "codec", "tolerance"),
    [
        ("yuv444p", "libx264", 5),
        ("yuv420p10le", "libx265", 6),
        ("gray", "libx264", 200),
        ("yuv444p16le", "ffv1", 5),
    ],
)
def test_any_pixel_format_becomes_8_bit_rgb(
    tmp_path: Path, pixel_format: str, codec: str, tolerance: float
) -> None:
    frames = flash_frames()[:4]
    options = {"crf": "5"} if codec.startswith("lib") else {}
    path = OddVideo(frames, pixel_format=pixel_format, codec=codec, options=options).write(
        tmp_path / "a.mkv"
    )
    decoded = read_clip(path).frames
    assert decoded.dtype == np.uint8
    assert np.abs(decoded[0][80:, 90:].mean((0, 1)) - (200, 60, 30)).max() < tolerance


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_is_applied_as_opencv_applies_it(tmp_path: Path, rotation: int) -> None:
    path = OddVideo(flash_frames()[:6], rotation=rotation).write(tmp_path / "phone.mp4")
    info = probe(path)
    assert (info.width, info.height) == ((90, 120) if rotation % 180 else (120, 90))
    ours = read_clip(path).frames[0]
    _, theirs = cv2.VideoCapture(str(path)).read()
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs[..., ::-1]).mean() < 3


def test_variable_frame_rate_keeps_its_timestamps(tmp_path: Path) -> None:
    times = np.array([0.0, 0.04, 0.5, 0.54, 0.58, 2.0])
    path = OddVideo(flash_frames()[:6], times=times).write(tmp_path / "vfr.mkv")
    assert read_clip(path).timestamps == pytest.approx(times, abs=2e-3)


def test_a_path_may_be_a_string(tmp_path: Path) -> None:
    path = OddVideo(flash_frames()[:6]).write(tmp_path / "a.mkv")
    assert probe(str(path)) == probe(path)
    assert np.array_equal(read_clip(str(path)).frames, read_clip(path).frames)


@pytest.mark.parametrize("start", [0.0, 20_000.0], ids=["back", "ahead"])
def test_clock_that_jumps_goes_on(tmp_path: Path, start: float) -> None:
    joined = tmp_path / "joined.ts"
    with joined.open("wb") as file:  # what `cat a.ts b.ts` makes
        for at in (0.0, start):
            part = OddVideo(
                flash_frames(), start=at, tracks=[Track(tone(48_000), codec="aac", start=at)]
            )
            file.write(part.write(tmp_path / "part.ts").read_bytes())
    clip = read_clip(joined)
    assert clip.timestamps.shape == (96,)
    assert np.diff(clip.timestamps) == pytest.approx(np.full(95, 1 / FPS), abs=2e-3)
    second = clip.waveform[2 * SAMPLE_RATE :]
    assert loud_span(second) == pytest.approx((1.0, 1.2), abs=0.06)


def test_a_picture_may_stand_for_long(tmp_path: Path) -> None:
    times = [0.0, 0.04, 600.0]
    assert read_clip(
        OddVideo(flash_frames()[:3], times=times).write(tmp_path / "a.mkv")
    ).timestamps == pytest.approx(times, abs=2e-3)


@pytest.mark.parametrize("rate", [1, 240])
def test_slow_and_fast_frame_rates(tmp_path: Path, rate: int) -> None:
    path = OddVideo(flash_frames(count=6, flash=2), rate=Fraction(rate)).write(tmp_path / "a.mp4")
    assert read_clip(path).timestamps == pytest.approx(np.arange(6) / rate, abs=1e-3)


def test_frames_at_a_rate_are_the_ones_on_the_screen(tmp_path: Path) -> None:
    # each frame's brightness is its index; each frame stays until the next one
    times = [0.0, 0.3, 1.4, 1.6]
    frames = [np.full((16, 16, 3), 40 * index, np.uint8) for index in range(4)]
    path = OddVideo(frames, times=times).write(tmp_path / "vfr.mkv")
    clip = read_clip(path, fps=2.0)
    assert clip.timestamps == pytest.approx([0.25, 0.75, 1.25])
    assert [round(float(frame.mean()) / 40) for frame in clip.frames] == [0, 1, 1]


def test_one_short_frame_is_still_a_clip(tmp_path: Path) -> None:
    path = OddVideo(flash_frames()[:1]).write(tmp_path / "one.mp4")
    clip = read_clip(path, fps=1.0)
    assert clip.frames.shape == (1, 90, 120, 3)


def test_a_stretch_of_a_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, flash_frames(), FPS, beep(), SAMPLE_RATE)
    clip = read_clip(path, start=0.5, duration=1.0)
    assert clip.timestamps == pytest.approx(np.arange(12, 36) / FPS)
    assert clip.waveform.shape == (SAMPLE_RATE,)
    assert loud_span(clip.waveform) == pytest.approx((0.5, 0.7), abs=2e-3)
    with pytest.raises(UserError, match="no frame between 7 s"):
        read_clip(path, start=7.0)


def test_sound_is_read_forward_only(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", flash_frames(), FPS, beep(), SAMPLE_RATE)
    with SoundReader(tmp_path / "a.mp4") as sound:
        whole = sound.read(0, 2 * SAMPLE_RATE)
        assert np.array_equal(sound.read(16_000, 16_100), whole[16_000:16_100])
        with pytest.raises(ValueError, match="forward only"):
            sound.read(0, 10)


def test_a_follower_hears_what_the_first_reader_has_passed(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", flash_frames(), FPS, beep(), SAMPLE_RATE)
    with SoundReader(tmp_path / "a.mp4") as sound:
        whole = sound.read(0, 2 * SAMPLE_RATE)
    with SoundReader(tmp_path / "a.mp4") as sound:
        behind = sound.follower()
        assert behind.sample_rate == SAMPLE_RATE
        assert np.array_equal(sound.read(20_000, 30_000), whole[20_000:30_000])
        for start in range(-500, 25_000, 5_000):
            expected = np.pad(whole, (500, 0))[start + 500 : start + 5_700]
            assert np.array_equal(behind.read(start, start + 5_200), expected)
        with pytest.raises(ValueError, match="forward only"):
            behind.read(0, 10)
        # it may overtake, and what both have passed is gone
        assert np.array_equal(behind.read(31_000, 32_000), whole[31_000:32_000])
        assert np.array_equal(sound.read(30_000, 30_500), whole[30_000:30_500])
        with pytest.raises(ValueError, match="forward only"):
            sound.read(29_000, 29_500)


def test_an_open_video_is_what_probe_and_stream_frames_say(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, flash_frames(), FPS, beep(), SAMPLE_RATE)
    wanted = list(stream_frames(path))
    with OpenVideo(path) as video:
        assert video.info == probe(path)
        found = list(video.frames())
    assert [frame.time for frame in found] == [frame.time for frame in wanted]
    for size in (None, (30, 50), None):  # one converter, several sizes, none of which it may keep
        for ours, alone in zip(found, wanted, strict=True):
            assert np.array_equal(ours.rgb(size), replace(alone, converter=None).rgb(size))
    assert found[0].rgb((30, 50)).shape == (30, 50, 3)
    with pytest.raises(UserError, match="does not exist"):
        OpenVideo(tmp_path / "b.mp4")


def test_damaged_packets_are_left_out_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, flash_frames(), FPS, beep(), SAMPLE_RATE)
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 600] = b"\xff" * 600
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING, "ecmvae"):
        frames = list(stream_frames(path))
    assert 1 <= len(frames) <= 48
    assert all(later.time > earlier.time for earlier, later in pairwise(frames))


def test_sound_in_an_unknown_codec_warns_and_is_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_video(tmp_path / "a.mp4", flash_frames(48, 32), FPS, beep(), SAMPLE_RATE)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.count(b"mp4a") == data.count(b"esds") == 1  # the two places that name the codec
    (tmp_path / "b.mp4").write_bytes(data.replace(b"mp4a", b"zzzz").replace(b"esds", b"zzzz"))
    with caplog.at_level(logging.WARNING, "ecmvae"):
        clip = read_clip(tmp_path / "b.mp4")
    assert len(clip.frames) == 48
    assert not clip.waveform.any()
    assert "sound in an unknown codec: treated as silence" in caplog.text
    assert probe(tmp_path / "b.mp4").audio_tracks[0].codec == ""
    write_video(tmp_path / "c.mp4", flash_frames(48, 32), FPS, copy_audio_from=tmp_path / "b.mp4")
    assert probe(tmp_path / "c.mp4").audio_tracks == ()


def test_a_track_that_appears_half_way_does_not_end_the_video(tmp_path: Path) -> None:
    """A television recording may gain tracks, which PyAV has no place for; here one picture is given to another."""
    data = bytearray(OddVideo(flash_frames(48, 32)).write(tmp_path / "a.ts").read_bytes())
    picture = [
        at for at in range(0, len(data), 188) if (data[at + 1] & 0x1F, data[at + 2]) == (1, 0)
    ]  # track 0x100
    starts = [at for at in picture if data[at + 1] & 0x40]
    assert len(starts) == 48
    for at in picture:
        if starts[30] <= at < starts[31]:
            data[at + 1 : at + 3] = bytes([data[at + 1] & 0xE0 | 3, 0x33])  # track 0x333
    (tmp_path / "b.ts").write_bytes(data)
    assert len(list(stream_frames(tmp_path / "b.ts"))) == 47
