"""Phrases of a sound font, with a player that this test writes: it sounds a sine for every key that is down."""

import io
import sys
import wave

import numpy as np
import pytest

from ecmvae.data.collage.phrases import DRUMS, INSTRUMENTS, PHRASE_SECONDS, Phrases
from ecmvae.errors import UserError

PLAYER = """
import numpy as np

events = []


class Synth:
    def __init__(self, gain, samplerate):
        self.rate, self.down = samplerate, {}

    def sfload(self, filename):
        return 7

    def program_select(self, channel, font, bank, program):
        events.append(("program", font, bank, program))

    def noteon(self, channel, key, velocity):
        events.append(("on", key, velocity))
        self.down[key] = velocity

    def noteoff(self, channel, key):
        self.down.pop(key, None)

    def generate(self, count):
        turns = 2 * np.pi * np.arange(count) / self.rate
        mono = sum((v / 127 * np.sin(440 * 2 ** ((k - 69) / 12) * turns) for k, v in self.down.items()), 0 * turns)
        return memoryview(np.repeat(mono.astype(np.float32), 2).tobytes())
"""


@pytest.fixture
def phrases(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "tinysoundfont", raising=False)
    package = tmp_path / "python" / "tinysoundfont"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(PLAYER)
    (tmp_path / "font.sf2").write_bytes(b"RIFF")
    yield Phrases(tmp_path / "python", tmp_path / "font.sf2")
    sys.modules.pop("tinysoundfont", None)


def heard(phrases, name):
    content = phrases.render(name)
    events = list(sys.modules["tinysoundfont"].events)
    sys.modules["tinysoundfont"].events.clear()
    return content, events


@pytest.mark.parametrize("instrument", [*INSTRUMENTS, DRUMS])
def test_an_instrument_plays_in_its_range(phrases, instrument):
    content, events = heard(phrases, f"{instrument}_3")
    program, lowest, highest, _ = INSTRUMENTS.get(instrument, (0, 35, 57, 0))
    assert events[0] == ("program", 7, 128 if instrument == DRUMS else 0, program)
    notes = [event for event in events if event[0] == "on"]
    assert len(notes) > 4
    assert all(lowest <= key <= highest and 1 <= velocity <= 127 for _, key, velocity in notes)
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (1, 16_000, 2)
        assert file.getnframes() == PHRASE_SECONDS * 16_000
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert np.abs(samples.astype(int)).max() == pytest.approx(32_000, abs=1)


def test_the_name_is_the_seed(phrases):
    first, again, other = (heard(phrases, name) for name in ("violin_1", "violin_1", "violin_2"))
    assert first == again
    assert first[1] != other[1]


@pytest.mark.parametrize("name", ["kazoo_1", "violin", "violin_x", "_1"])
def test_unknown_phrases_are_refused(phrases, name):
    with pytest.raises(UserError, match="plays no phrase"):
        phrases.render(name)


def test_what_was_not_fetched_is_named(phrases, tmp_path):
    with pytest.raises(UserError, match=r"does not contain none\.sf2"):
        Phrases(tmp_path / "python", tmp_path / "none.sf2").render("violin_1")
    with pytest.raises(UserError, match="tinysoundfont, which was not fetched"):
        Phrases(tmp_path / "elsewhere", tmp_path / "font.sf2").render("violin_1")
