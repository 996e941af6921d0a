"""What is kept of a stream while it is read: the newest frames, the last seconds of sound, and no more."""

import time
from threading import Event

import numpy as np
import pytest
from live_server import FPS, LiveServer, transport_stream

from ecmvae.data.video import SAMPLE_RATE, SoundArray
from ecmvae.data.video.addresses import Address
from ecmvae.data.video.live import LONGEST_WAIT, LiveStream
from ecmvae.data.video.live_writing import ArrivedSound
from ecmvae.data.video.sound import RecentSound, resample_array

RATE = 1000


def test_recent_sound_is_the_end_of_all_of_it() -> None:
    generator = np.random.default_rng(0)
    whole = generator.uniform(-1, 1, 30 * RATE).astype(np.float32)
    everything, recent = SoundArray(whole, RATE), RecentSound(RATE, 2.0)
    position = 0
    while position < len(whole):
        count = int(generator.integers(1, 90))
        recent.add(position, whole[None, position : position + count])
        position = min(position + count, len(whole))
        assert recent.end == position
        start = max(position - 2 * RATE, 0)
        np.testing.assert_array_equal(
            recent.read(start, position), everything.read(start, position)
        )
        assert not recent.read(position, position + 10).any()  # nothing is known of what follows
    assert sum(block.shape[1] for _, block in recent._blocks) <= 2 * RATE + 90


def test_sound_to_be_written_goes_on_where_it_ended() -> None:
    arrived = ArrivedSound()
    assert [*arrived] == []
    arrived.add(0, np.zeros((2, 5), np.float32))
    arrived.add(5, np.ones((2, 5), np.float32))
    assert [position for position, _ in arrived] == [0, 5]
    arrived.add(10, np.ones((2, 5), np.float32))
    assert [position for position, _ in arrived] == [10]


@pytest.fixture(scope="module")
def content() -> bytes:
    return transport_stream(4.0)


def test_frames_that_nobody_takes_do_not_pile_up(content: bytes) -> None:
    with (
        LiveServer(content, 4.0) as server,
        LiveStream(
            Address.parse(server.url), sample_rate=16_000, seconds=3.0, patience=3.0
        ) as stream,
    ):
        time.sleep(2.0)
        assert len(stream._frames) <= LONGEST_WAIT * FPS + 2
        assert stream.dropped > FPS
        taken = [each.frame.index for each in stream]
        assert taken == sorted(taken)
        assert taken[-1] + 1 == len(taken) + stream.dropped
        heard = stream.sound.read(stream.sound.end - 16_000, stream.sound.end)
        assert np.abs(heard).max() > 0.3  # none of the sound is lost


def test_it_can_be_stopped_at_any_time(content: bytes) -> None:
    with LiveServer(content, 4.0, stall=0.5) as server:
        started, seen = time.monotonic(), Event()
        with LiveStream(Address.parse(server.url), sample_rate=16_000, seconds=3.0) as stream:
            for _ in stream:
                seen.set()
                stream.stop()
        assert seen.is_set()
        assert time.monotonic() - started < 8  # without waiting for its patience of 10 s


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_a_sound_at_another_rate_is_the_same_tone(rate: int) -> None:
    seconds = np.arange(rate) / rate
    resampled = resample_array(np.sin(2 * np.pi * 440 * seconds), rate, SAMPLE_RATE)
    assert resampled.dtype == np.float32
    assert len(resampled) == pytest.approx(SAMPLE_RATE, abs=32)
    expected = np.sin(2 * np.pi * 440 * np.arange(len(resampled)) / SAMPLE_RATE)
    inside = slice(500, -500)
    assert np.abs(resampled - expected)[inside].max() < 0.01
