"""Phrases of music played on the instruments of a General MIDI sound font, for AVS-Collage.

The sound font is TimGM6mb (Debian's ``timgm6mb-soundfont``, GPL-2); the player is the Python package `tinysoundfont`
(MIT), read from its unpacked wheel. A phrase is named INSTRUMENT_NUMBER, such as ``violin_3``: the name is the seed.
"""

from __future__ import annotations

import importlib.util
import io
import sys
import threading
import wave
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from ecmvae.audio.io import SAMPLE_RATE
from ecmvae.errors import UserError

PHRASE_SECONDS = 6.0
"""Length of a phrase, the last note's decay included."""

DRUMS = "drumkit"

INSTRUMENTS: dict[str, tuple[int, int, int, int]] = {
    "accordion": (21, 53, 84, 2),
    "bagpipe": (109, 57, 77, 1),
    "cello": (42, 36, 67, 1),
    "choir": (52, 48, 76, 3),
    "clarinet": (71, 50, 84, 1),
    "electric_guitar": (27, 40, 76, 2),
    "flute": (73, 60, 91, 1),
    "glockenspiel": (9, 72, 96, 1),
    "guitar": (24, 40, 76, 3),
    "harmonica": (22, 60, 84, 2),
    "harp": (46, 40, 88, 2),
    "marimba": (12, 48, 84, 1),
    "music_box": (10, 60, 90, 2),
    "organ": (19, 40, 84, 3),
    "overdriven_guitar": (29, 40, 72, 2),
    "pan_flute": (75, 60, 84, 1),
    "piano": (0, 36, 88, 3),
    "saxophone": (65, 49, 80, 1),
    "steel_guitar": (25, 40, 76, 3),
    "synthesizer": (81, 40, 84, 1),
    "trumpet": (56, 55, 82, 1),
    "vibraphone": (11, 53, 86, 2),
    "violin": (40, 55, 93, 1),
}
"""Instrument -> General MIDI program, lowest and highest key, and notes of a chord at the most."""

_SCALES = ((0, 2, 4, 7, 9), (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))
_LENGTHS = (0.15, 0.2, 0.3, 0.45, 0.7, 1.2)
_KICK, _SNARE, _HAT, _CRASH, _TOMS = 36, 38, 42, 49, (41, 45, 48)

_IMPORTING = threading.Lock()

Note = tuple[float, float, int, int]
"""Start and end in seconds, MIDI key and velocity (1..127)."""


class Phrases:
    """Plays phrases.

    Args:
        python: Folder with the unpacked `tinysoundfont`.
        sound_font: The sf2 file.
    """

    def __init__(self, python: Path, sound_font: Path) -> None:
        self.python, self.sound_font = python, sound_font

    def render(self, name: str) -> bytes:
        """The phrase of that name as a 16-bit wav file; the same bytes for the same name.

        Raises:
            UserError: If the instrument is unknown, or the player or the sound font is missing.
        """
        instrument, _, number = name.rpartition("_")
        if not (instrument in INSTRUMENTS or instrument == DRUMS) or not number.isdigit():
            raise UserError(f"the sound font plays no phrase {name}")
        if not self.sound_font.is_file():
            raise UserError(
                f"the package of the sound font does not contain {self.sound_font.name}"
            )
        rng = np.random.default_rng([zlib.crc32(name.encode()), 0x5F])
        notes = _beat(rng) if instrument == DRUMS else _melody(rng, *INSTRUMENTS[instrument][1:])
        program = 0 if instrument == DRUMS else INSTRUMENTS[instrument][0]
        samples = self._play(notes, program, drums=instrument == DRUMS)
        file = io.BytesIO()
        with wave.open(file, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(SAMPLE_RATE)
            out.writeframes(
                (samples * (32_000 / max(float(np.abs(samples).max()), 1e-9)))
                .astype("<i2")
                .tobytes()
            )
        return file.getvalue()

    def _play(self, notes: list[Note], program: int, drums: bool) -> Float32[np.ndarray, " s"]:
        synth = _player(self.python).Synth(gain=-12, samplerate=SAMPLE_RATE)
        font = synth.sfload(str(self.sound_font))
        synth.program_select(0, font, 128 if drums else 0, program)
        events = sorted(
            [(start, 1, key, velocity) for start, _, key, velocity in notes]
            + [(end, 0, key, 0) for _, end, key, _ in notes]
        )
        played, blocks = 0, []
        for time, on, key, velocity in [*events, (PHRASE_SECONDS, 0, 0, 0)]:
            due = round(min(time, PHRASE_SECONDS) * SAMPLE_RATE)
            if due > played:
                blocks.append(
                    np.frombuffer(synth.generate(due - played), dtype=np.float32)
                    .reshape(-1, 2)
                    .mean(axis=1)
                )
                played = due
            if on:
                synth.noteon(0, key, velocity)
            else:
                synth.noteoff(0, key)
        return np.concatenate(blocks)


def _melody(rng: np.random.Generator, lowest: int, highest: int, chord: int) -> list[Note]:
    """A random walk over a scale, with chords where the instrument plays them."""
    scale = _SCALES[rng.integers(len(_SCALES))]
    root = int(rng.integers(12))
    keys = [key for key in range(lowest, highest + 1) if (key - root) % 12 in scale]
    place = int(rng.integers(len(keys)))
    loudness, pace = int(rng.integers(50, 115)), float(rng.uniform(0.7, 1.6))
    notes, time = [], 0.0
    while time < PHRASE_SECONDS - 0.8:
        length = pace * _LENGTHS[rng.integers(len(_LENGTHS))]
        voices = int(rng.integers(1, chord + 1))
        velocity = int(np.clip(loudness + rng.integers(-15, 16), 20, 127))
        for voice in range(voices):
            if place + 2 * voice < len(keys):
                notes.append((time, time + 0.95 * length, keys[place + 2 * voice], velocity))
        place = int(np.clip(place + rng.integers(-3, 4), 0, len(keys) - 1))
        time += length
    return notes


def _beat(rng: np.random.Generator) -> list[Note]:
    """Kick, snare and hi-hat on a grid of eighths, with fills."""
    step = 30 / float(rng.uniform(80, 160))
    loudness = int(rng.integers(70, 115))
    pattern = [
        [_KICK] if at % 4 == 0 or rng.random() < 0.2 else [_SNARE] if at % 4 == 2 else []
        for at in range(8)
    ]
    hats = rng.random(8) < 0.8
    notes: list[Note] = []
    for number in range(int((PHRASE_SECONDS - 0.5) / step)):
        struck = [*pattern[number % 8], *([_HAT] if hats[number % 8] else [])]
        if rng.random() < 0.12:
            struck.append(_TOMS[rng.integers(len(_TOMS))])
        if number % 16 == 0 and rng.random() < 0.5:
            struck.append(_CRASH)
        for key in struck:
            notes.append(
                (
                    number * step,
                    number * step + 0.1,
                    key,
                    int(np.clip(loudness + rng.integers(-15, 13), 20, 127)),
                )
            )
    return notes


def _player(python: Path) -> Any:
    """The module `tinysoundfont`, from its unpacked wheel."""
    start = python / "tinysoundfont" / "__init__.py"
    with _IMPORTING:
        if "tinysoundfont" in sys.modules:
            return sys.modules["tinysoundfont"]
        if not start.is_file():
            raise UserError(
                "phrases of the sound font need the package tinysoundfont, which was not fetched"
            )
        spec = importlib.util.spec_from_file_location(
            "tinysoundfont", start, submodule_search_locations=[str(start.parent)]
        )
        assert spec is not None  # it has the name and ending of a module
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["tinysoundfont"] = module
        spec.loader.exec_module(module)
        return module
