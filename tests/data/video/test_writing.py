"""Written videos, read back by OpenCV's own FFmpeg (an independent decoder) and by our reader."""

import hashlib
import logging
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from flash_clip import FPS, SAMPLE_RATE, beep, flash_frames, flash_time, loud_span
from odd_videos import OddVideo, Track

from ecmvae.data.video import VideoWriter, probe, read_clip, write_video


def opencv_frames(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (result := capture.read())[0]:
        frames.append(result[1][..., ::-1])
    return frames


def test_picture_survives_within_compression(tmp_path: Path) -> None:
    frames = flash_frames()
    write_video(tmp_path / "a.mp4", frames, FPS)
    decoded = opencv_frames(tmp_path / "a.mp4")
    assert len(decoded) == len(frames)
    difference = np.abs(np.stack(decoded).astype(int) - frames)
    assert difference.mean() < 4
    # flat areas away from edges: the colours, so the matrix (BT.709) and the range are right
    assert np.abs(decoded[0][80:, 90:].mean((0, 1)) - (200, 60, 30)).max() < 4


@pytest.mark.parametrize(("width", "height"), [(121, 90), (120, 91), (121, 91), (1, 1)])
def test_odd_sizes_are_padded_by_repeating_the_edge(
    tmp_path: Path, width: int, height: int
) -> None:
    write_video(tmp_path / "odd.mp4", flash_frames(width, height), FPS)
    info = probe(tmp_path / "odd.mp4")
    assert (info.width, info.height) == (width + width % 2, height + height % 2)


def test_same_input_gives_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, flash_frames(), FPS, beep(), SAMPLE_RATE)
    digests = {
        hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a.mp4", "b.mp4")
    }
    assert len(digests) == 1


def test_index_comes_first_so_that_a_browser_can_start(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", flash_frames(), FPS)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("sample_rate", [16_000, 44_100, 48_000])
def test_sound_is_in_time_with_the_picture(tmp_path: Path, sample_rate: int) -> None:
    write_video(tmp_path / "a.mp4", flash_frames(), FPS, beep(sample_rate=sample_rate), sample_rate)
    clip = read_clip(tmp_path / "a.mp4")
    assert flash_time(clip.frames, clip.timestamps) == pytest.approx(1.0, abs=1e-3)
    assert loud_span(clip.waveform) == pytest.approx((1.0, 1.2), abs=2e-3)


def test_stereo_sound_and_sound_longer_than_the_picture(tmp_path: Path) -> None:
    stereo = np.stack([beep(seconds=5), np.zeros(5 * SAMPLE_RATE, np.float32)])
    write_video(tmp_path / "a.mp4", flash_frames(), FPS, stereo, SAMPLE_RATE)
    info = probe(tmp_path / "a.mp4")
    assert info.audio_tracks[0].channels == 2
    clip = read_clip(tmp_path / "a.mp4")
    assert clip.waveform.shape == (2 * SAMPLE_RATE,)
    assert np.abs(clip.waveform[SAMPLE_RATE : SAMPLE_RATE * 6 // 5]).max() == pytest.approx(
        0.25, abs=0.05
    )


def test_sound_is_copied_packet_by_packet(tmp_path: Path) -> None:
    import av

    write_video(tmp_path / "a.mp4", flash_frames(), FPS, beep(), SAMPLE_RATE)
    write_video(tmp_path / "b.mp4", flash_frames(60, 60), FPS, copy_audio_from=tmp_path / "a.mp4")

    def audio_bytes(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(audio=0) if packet.size]

    assert audio_bytes(tmp_path / "a.mp4") == audio_bytes(tmp_path / "b.mp4")
    assert loud_span(read_clip(tmp_path / "b.mp4").waveform) == pytest.approx((1.0, 1.2), abs=2e-3)


def test_sound_that_mp4_cannot_hold_is_encoded_again_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with VideoWriter(
        tmp_path / "a.webm",
        width=120,
        height=90,
        fps=FPS,
        codec="vp9",
        waveform=beep(sample_rate=48_000),
        sample_rate=48_000,
    ) as writer:
        for frame in flash_frames():
            writer.write(frame)
    with caplog.at_level(logging.WARNING, "ecmvae"):
        write_video(tmp_path / "b.mp4", flash_frames(), FPS, copy_audio_from=tmp_path / "a.webm")
    assert "mp4 cannot hold its opus sound: encoded again as aac" in caplog.text
    assert loud_span(read_clip(tmp_path / "b.mp4").waveform) == pytest.approx((1.0, 1.2), abs=2e-3)


def test_damaged_sound_is_copied_as_far_as_it_goes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """MPEG-TS repeats a header in each packet of AAC, and MP4 refuses those in which it is overwritten."""
    tracks = [Track(np.stack([beep(sample_rate=48_000)] * 2), layout="stereo", codec="aac")]
    data = bytearray(
        OddVideo(flash_frames(48, 32), tracks=tracks).write(tmp_path / "a.ts").read_bytes()
    )
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    (tmp_path / "a.ts").write_bytes(data)
    with caplog.at_level(logging.WARNING, "ecmvae"):
        write_video(
            tmp_path / "b.mp4", flash_frames(48, 32), FPS, copy_audio_from=tmp_path / "a.ts"
        )
    assert "damaged packet(s) of the sound not copied" in caplog.text
    assert loud_span(read_clip(tmp_path / "b.mp4").waveform)[1] == pytest.approx(1.2, abs=0.03)


def test_own_timestamps_are_kept(tmp_path: Path) -> None:
    times = np.array([0.0, 0.1, 0.15, 0.9, 1.0, 1.7])
    with VideoWriter(tmp_path / "v.mp4", width=120, height=90, fps=10) as writer:
        for frame, time in zip(flash_frames(), times, strict=False):
            writer.write(frame, time)
    assert read_clip(tmp_path / "v.mp4").timestamps == pytest.approx(times, abs=1e-4)


def test_transparency_survives(tmp_path: Path) -> None:
    import av

    frames = np.concatenate([flash_frames(), np.full((48, 90, 120, 1), 255, np.uint8)], axis=-1)
    frames[:, :, 60:, 3] = 0
    with VideoWriter(
        tmp_path / "a.webm", width=120, height=90, fps=FPS, codec="vp9", alpha=True
    ) as writer:
        for frame in frames:
            writer.write(frame)
    with av.open(str(tmp_path / "a.webm")) as container:
        assert container.streams.video[0].metadata.get("alpha_mode") == "1"
        # FFmpeg's own vp9 decoder ignores transparency
        decoder = av.CodecContext.create("libvpx-vp9", "r")
        decoder.thread_count = 1
        packet = next(container.demux(video=0))
        frame = decoder.decode(packet)[0]
        plane = frame.planes[3]
        alpha = (
            np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, :120].copy()
        )
    assert alpha[:, :56].min() > 250
    assert alpha[:, 64:].max() < 5


def test_rates_of_film_and_television_are_exact(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", flash_frames(), 23.976)
    assert probe(tmp_path / "a.mp4").fps == pytest.approx(Fraction(24000, 1001), abs=1e-3)


def test_nothing_is_left_after_a_failure(tmp_path: Path) -> None:
    frames = [*flash_frames()[:3], np.zeros((7, 7, 3), np.uint8)]
    with pytest.raises(ValueError, match="does not fit"):
        write_video(tmp_path / "a.mp4", frames, FPS, beep(), SAMPLE_RATE)
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(tmp_path / "a.mp4", [], FPS)
    with pytest.raises(ValueError, match="at least one frame"):
        VideoWriter(tmp_path / "a.mp4", width=4, height=4, fps=FPS).close()
    assert list(tmp_path.iterdir()) == []


def test_contradictions_are_refused(tmp_path: Path) -> None:
    size = {"width": 4, "height": 4, "fps": 5}
    with pytest.raises(ValueError, match="sample_rate"):
        VideoWriter(tmp_path / "a.mp4", **size, waveform=beep())
    with pytest.raises(ValueError, match="not both"):
        VideoWriter(
            tmp_path / "a.mp4",
            **size,
            waveform=beep(),
            sample_rate=16_000,
            copy_audio_from=tmp_path / "b.mp4",
        )
    with pytest.raises(ValueError, match="VP9"):
        VideoWriter(tmp_path / "a.mp4", **size, alpha=True)
    with pytest.raises(ValueError, match="12345 Hz"):
        VideoWriter(tmp_path / "a.mp4", **size, waveform=beep(), sample_rate=12_345)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "codec", "container"),
    [
        ("a.mkv", "libmp3lame", ".mp4"),
        ("b.mkv", "ac3", ".mp4"),
        ("c.ts", "aac", ".mp4"),
        ("d.mov", "alac", ".mp4"),
        ("e.mkv", "libopus", ".webm"),
        ("f.mkv", "flac", ".mp4"),  # encoded again
        ("g.mov", "pcm_s16le", ".webm"),  # encoded again
    ],
)
@pytest.mark.parametrize(("start", "late"), [(0.0, 0.0), (1.0, 0.5), (1.0, -0.5)])
def test_copied_sound_stays_in_time(
    tmp_path: Path, name: str, codec: str, container: str, start: float, late: float
) -> None:
    sound = np.stack([beep(sample_rate=48_000)] * 2)
    track = Track(sound, 48_000, "stereo", codec, start=start + late)
    source = OddVideo(flash_frames(), start=start, tracks=[track]).write(tmp_path / name)
    target = tmp_path / f"out{container}"
    vp9 = container == ".webm"
    with VideoWriter(
        target,
        width=120,
        height=90,
        fps=FPS,
        codec="vp9" if vp9 else "h264",
        copy_audio_from=source,
    ) as writer:
        for frame in flash_frames():
            writer.write(frame)
    given, kept = read_clip(source), read_clip(target)
    assert probe(target).audio_tracks[0].codec == {
        "libmp3lame": "mp3", "flac": "aac", "pcm_s16le": "opus", "libopus": "opus",
    }.get(codec, codec)  # fmt: skip
    assert loud_span(given.waveform) == pytest.approx((1.0 + late, 1.2 + late), abs=0.03)
    assert loud_span(kept.waveform) == pytest.approx(loud_span(given.waveform), abs=5e-3)
    assert flash_time(kept.frames, kept.timestamps) == pytest.approx(1.0, abs=2e-3)


def test_copied_sound_goes_on_where_the_clock_jumps_ahead(tmp_path: Path) -> None:
    source = tmp_path / "joined.ts"
    with source.open("wb") as file:
        for at in (0.0, 20_000.0):
            track = Track(
                np.stack([beep(sample_rate=48_000)] * 2), 48_000, "stereo", "aac", start=at
            )
            part = OddVideo(flash_frames(), start=at, tracks=[track]).write(tmp_path / "part.ts")
            file.write(part.read_bytes())
    target = tmp_path / "out.mp4"
    with VideoWriter(target, width=120, height=90, fps=FPS, copy_audio_from=source) as writer:
        for frame in [*flash_frames(), *flash_frames()]:
            writer.write(frame)
    kept = read_clip(target).waveform
    assert len(kept) == pytest.approx(4 * SAMPLE_RATE, abs=0.1 * SAMPLE_RATE)
    assert loud_span(kept[2 * SAMPLE_RATE :]) == pytest.approx((1.0, 1.2), abs=0.06)


def test_a_video_shorter_than_a_millisecond_can_be_played(tmp_path: Path) -> None:
    """A damaged header may say 65,535 frames a second; MP4 notes the length of a track in milliseconds."""
    still = next(iter(flash_frames(64, 48)))  # pictures that do not change are written as B-frames
    write_video(tmp_path / "a.mp4", [still] * 6, 65_535)
    assert len(read_clip(tmp_path / "a.mp4").frames) == 6
