"""Mix the sound of a scene of AVS-Collage: each object's recording, audible only in the seconds when it sounds."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32

from ecmvae.audio.io import SAMPLE_RATE
from ecmvae.data.collage.augment import VARIATIONS, Variation, coloured_noise, decibels, recolour
from ecmvae.data.collage.scene import OffScreenSound, Scene
from ecmvae.data.collage.sources import CollageSources

_FADE = int(0.02 * SAMPLE_RATE)
_PEAK = 0.98
_QUIET_NOISE = 0.1 * 10 ** (-50 / 20)
_STEP = SAMPLE_RATE // 10  # between two candidates for a recording's loudest second


def mix_audio(
    scene: Scene,
    activity: Bool[np.ndarray, "t o"],
    rng: np.random.Generator,
    vary: Variation | None,
    sources: CollageSources,
) -> Float32[np.ndarray, " s"]:
    """Mix the recordings of the sounding objects, and the scene's off-screen sound if it has one.

    Each recording (active level 0.1) loops from a random position with a random pause of up to 0.3 s, and is audible
    in the seconds of its object, with fades of 20 ms inside them. Noise is white and 50 dB below a recording; with
    `vary` its level varies (and with rooms its colour), as do the gain and the pitch of each recording.

    Args:
        scene: Its objects name the recordings; its off-screen sound, varied as in training, lasts throughout.
        activity: (T, O), whether an object sounds in a second; column k-1 belongs to object k.
        rng: Random generator.
        vary: How pitch, gain, noise and rooms vary in training; None leaves the recordings as they are.
        sources: The recordings.

    Returns:
        (T * 16000,) in [-0.98, 0.98].
    """
    seconds = activity.shape[0]
    length = seconds * SAMPLE_RATE
    if vary is not None and vary.rooms:
        mix = coloured_noise(rng, length) * decibels(-20 - rng.uniform(*vary.noise))
    elif vary is not None:
        mix = rng.standard_normal(length, dtype=np.float32) * decibels(
            -20 - rng.uniform(*vary.noise)
        )
    else:
        mix = rng.standard_normal(length, dtype=np.float32) * np.float32(_QUIET_NOISE)
    for number, thing in enumerate(scene.objects):
        if not activity[:, number].any():
            continue
        recording = sources.load_sound(thing.sound)
        track = (
            _loop(recording, length, 1.0, rng)
            if vary is None
            else _varied(recording, length, rng, vary)
        )
        for first, last in _runs(activity[:, number]):
            audible = track[first * SAMPLE_RATE : last * SAMPLE_RATE]
            mix[first * SAMPLE_RATE : last * SAMPLE_RATE] += audible * _envelope(audible.size)
    if scene.off_screen is not None:
        mix += _off_screen(scene.off_screen, length, rng, sources)
    peak = float(np.abs(mix).max())
    limited: np.ndarray = mix * np.float32(min(1.0, _PEAK / peak))
    return limited


def loudest_second(recording: Float32[np.ndarray, " k"]) -> Float32[np.ndarray, " s"]:
    """The loudest second of a recording at 16 kHz, which repeats if it is shorter."""
    turns = np.tile(recording, -(-2 * SAMPLE_RATE // len(recording)))
    power = np.square(np.lib.stride_tricks.sliding_window_view(turns, SAMPLE_RATE)[::_STEP])
    start = int(power.mean(axis=-1).argmax()) * _STEP
    return turns[start : start + SAMPLE_RATE]


def _off_screen(
    heard: OffScreenSound, length: int, rng: np.random.Generator, sources: CollageSources
) -> Float32[np.ndarray, " s"]:
    """The off-screen sound at its level, with random pitch, tilt and reverberation."""
    if heard.kind == "noise":
        return coloured_noise(rng, length) * decibels(heard.level - 20)
    recording = (
        sources.load_sound(heard.sound)
        if heard.kind == "sound"
        else sources.load_other(heard.sound)
    )
    semitones = VARIATIONS["strong"].semitones
    speed = 2 ** (rng.uniform(-semitones, semitones) / 12)
    return recolour(_loop(recording, length, speed, rng), rng) * decibels(heard.level)


def _varied(
    recording: Float32[np.ndarray, " k"], length: int, rng: np.random.Generator, vary: Variation
) -> Float32[np.ndarray, " s"]:
    """A loop of the recording with random pitch and gain, perhaps in another room."""
    speed = 2 ** (rng.uniform(-vary.semitones, vary.semitones) / 12)
    gain = decibels(rng.uniform(*vary.gains))
    loop = _loop(recording, length, speed, rng)
    return (recolour(loop, rng) if vary.rooms else loop) * gain


def _loop(
    recording: Float32[np.ndarray, " k"], length: int, speed: float, rng: np.random.Generator
) -> Float32[np.ndarray, " s"]:
    """Repeat a recording from a random position, with the same random pause between repeats, `speed` times as fast."""
    pause = np.zeros(int(rng.uniform(0, 0.3) * SAMPLE_RATE), dtype=np.float32)
    turn = np.concatenate([recording, pause])
    start = rng.integers(turn.size)
    if speed == 1.0:
        plain: np.ndarray = turn[(start + np.arange(length)) % turn.size]
        return plain
    # Linear interpolation is cheap; its slight aliasing is acceptable as augmentation.
    position = (start + np.arange(length) * speed) % turn.size
    whole = position.astype(np.int64)
    fraction = (position - whole).astype(np.float32)
    following = np.where(whole + 1 == turn.size, 0, whole + 1)
    looped: np.ndarray = turn[whole] * (1 - fraction) + turn[following] * fraction
    return looped


def _runs(active: Bool[np.ndarray, " t"]) -> list[tuple[int, int]]:
    """Runs of True as (first, one past the last)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], active, [False]]).astype(np.int8)))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def _envelope(length: int) -> Float32[np.ndarray, " s"]:
    envelope = np.ones(length, dtype=np.float32)
    ramp = np.linspace(0, 1, _FADE, dtype=np.float32)
    envelope[:_FADE] = ramp
    envelope[-_FADE:] = ramp[::-1]
    return envelope
