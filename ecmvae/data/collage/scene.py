"""Random content of one clip of AVS-Collage; `render` and `sound` turn it into frames and a waveform.

S4-like clips show two or three objects of different classes, one of which sounds throughout. MS3-like clips show three
objects, and the sounding subset, which may be empty, changes from second to second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool

from ecmvae.data.collage.sources import CollageSources
from ecmvae.errors import UserError

Kind = Literal["s4", "ms3"]

SPLITS = ("train", "val", "test_seen", "test_unseen_sound", "test_unseen_image", "test_unseen")
"""test_seen: known pictures and recordings on new backgrounds; test_unseen_image, test_unseen_sound: held-out pictures
or recordings; test_unseen: both."""

SECONDS = 5
"""Length of a clip; one annotated frame a second."""

MAX_SPEED = 0.02
"""Maximum speed, in frame sides per second."""

_MS3_COUNTS = (0.10, 0.50, 0.33, 0.07)
"""Probabilities that none, one, two or all three objects sound in a second of an MS3-like clip."""

_OFF_SCREEN = ("other", "sound", "noise")

_MS3_KEEP = 0.35
"""Probability that a second repeats the sounding subset of the previous one."""


@dataclass(frozen=True, kw_only=True)
class PlacedObject:
    """One cut-out in a scene. Lengths are fractions of the frame's side, x to the right, y down.

    Attributes:
        category: Its class; "" for a thing of no class.
        image: Id of the cut-out.
        sound: Id of its recording; "" if it never sounds.
        size: Length of its longer side.
        centre: (x, y) at mid-clip.
        velocity: (x, y) per second.
        flip: Mirrored horizontally.
        contrast: Factor about mid-grey.
        colour: Factors on red, green and blue.
    """

    category: str
    image: str
    sound: str
    size: float
    centre: tuple[float, float]
    velocity: tuple[float, float]
    flip: bool
    contrast: float
    colour: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class OffScreenSound:
    """A sound of nothing that is in the picture; it is heard throughout the clip.

    Attributes:
        kind: sound (a recording of a class that is not in the scene), other (of none of the classes) or noise.
        sound: Id of the recording or other sound; "" for noise.
        alone: Whether nothing in the picture sounds; otherwise the off-screen sound comes on top.
        level: In decibels above a recording's level.
    """

    kind: Literal["sound", "other", "noise"]
    sound: str
    alone: bool
    level: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A background and the objects on it, back to front: object k of masks and tables is ``objects[k - 1]``.

    Attributes:
        background: Id of the background.
        crop: (left, top, side) of the square taken from it, as fractions: left and top of the space that the square
            leaves, side of the photo's shorter side.
        background_flip: Mirrored horizontally.
        brightness: Factor on the background.
        objects: Back to front; their classes differ, where they have one.
        seconds: Length of the clip.
        blur: Standard deviation of a Gaussian blur of the frames, as a fraction of the frame's side.
        off_screen: A sound of nothing that is in the picture, if there is one.
    """

    background: str
    crop: tuple[float, float, float]
    background_flip: bool
    brightness: float
    objects: tuple[PlacedObject, ...]
    seconds: int = SECONDS
    blur: float = 0.0
    off_screen: OffScreenSound | None = None


def sample_scene(
    rng: np.random.Generator, sources: CollageSources, kind: Kind, split: str = "train"
) -> Scene:
    """Sample a scene.

    Every object of a test_unseen_* clip, sounding or silent, uses held-out pictures or recordings.

    Raises:
        UserError: If the split is unknown or the sources have too few classes for it.
    """
    count = 3 if kind == "ms3" or rng.random() < 0.25 else 2
    new = _held_out(split)
    classes = sources.eligible(*new)
    if len(classes) < count:
        needed = f"{count} classes with the right pictures and recordings"
        raise UserError(
            f"AVS-Collage's split {split} needs {needed}, these sources have {len(classes)}"
        )
    backgrounds = sources.backgrounds(split)
    chosen = rng.choice(len(classes), size=count, replace=False)
    columns = rng.permutation(count)
    objects = tuple(
        _place(rng, sources, classes[int(number)], int(column), count, new)
        for number, column in zip(chosen, columns, strict=True)
    )
    return Scene(
        background=backgrounds[int(rng.integers(len(backgrounds)))],
        crop=(float(rng.random()), float(rng.random()), float(rng.uniform(0.6, 1.0))),
        background_flip=bool(rng.random() < 0.5),
        brightness=float(rng.uniform(0.8, 1.2)),
        objects=objects,
    )


def sample_free_scene(rng: np.random.Generator, sources: CollageSources) -> Scene:
    """Sample a training scene that is composed like a snapshot rather than like a test scene.

    One to three objects of different classes and up to two things that never sound, of any size up to most of the
    frame, anywhere, overlapping and cut by the border; the background may be zoomed far in, the picture blurred.
    """
    count, silent = (
        int(rng.choice([1, 2, 3], p=[0.4, 0.4, 0.2])),
        int(rng.choice([0, 1, 2], p=[0.4, 0.4, 0.2])),
    )
    classes, things = sources.eligible(), sources.images("")
    chosen = [
        classes[int(number)] for number in rng.choice(len(classes), size=count, replace=False)
    ]
    objects = [_free(rng, sources, category, count + silent) for category in chosen]
    objects += [_free(rng, sources, "", count + silent) for _ in range(silent if things else 0)]
    backgrounds = sources.backgrounds("train")
    return Scene(
        background=backgrounds[int(rng.integers(len(backgrounds)))],
        crop=(float(rng.random()), float(rng.random()), float(rng.uniform(0.15, 1.0))),
        background_flip=bool(rng.random() < 0.5),
        brightness=float(rng.uniform(0.6, 1.3)),
        objects=tuple(objects[int(place)] for place in rng.permutation(len(objects))),
        blur=float(rng.uniform(0, 0.006)) if rng.random() < 0.4 else 0.0,
    )


def _free(
    rng: np.random.Generator, sources: CollageSources, category: str, count: int
) -> PlacedObject:
    size = float(rng.uniform(0.25, 1.15) if count == 1 else rng.uniform(0.2, 0.75))
    return PlacedObject(
        category=category,
        image=_one_of(rng, sources.images(category)),
        sound=_one_of(rng, sources.sounds(category)) if category else "",
        size=size,
        centre=(float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.15, 0.9))),
        velocity=tuple(rng.uniform(-MAX_SPEED, MAX_SPEED, size=2).tolist()),
        flip=bool(rng.random() < 0.5),
        contrast=float(rng.uniform(0.6, 1.3)),
        colour=tuple(rng.uniform(0.8, 1.2, 3).tolist()),
    )


def sample_recordings(
    rng: np.random.Generator, scene: Scene, sources: CollageSources, split: str
) -> Scene:
    """The same scene, with each object's recording drawn again from those of its class in the split."""
    _, new_sound = _held_out(split)
    sounds = [
        _one_of(rng, sources.sounds(thing.category, new_sound)) if thing.category else ""
        for thing in scene.objects
    ]
    return replace(
        scene,
        objects=tuple(replace(t, sound=s) for t, s in zip(scene.objects, sounds, strict=True)),
    )


def sample_off_screen(
    rng: np.random.Generator, scene: Scene, sources: CollageSources
) -> OffScreenSound:
    """Sample a sound of nothing in the scene, from the known recordings.

    In three of four cases it is alone: another sound (40 %), a recording of a class that is not in the scene (40 %) or
    noise (20 %). In the fourth it lies 0 to 12 dB below what sounds in the picture and is not noise. What the sources
    lack is replaced by noise.
    """
    alone = bool(rng.random() < 0.75)
    kind = rng.choice(_OFF_SCREEN, p=(0.4, 0.4, 0.2) if alone else (0.5, 0.5, 0.0))
    seen = {thing.category for thing in scene.objects}
    absent = [name for name in sources.classes if name not in seen]
    level = float(rng.uniform(-9, 3) if alone else rng.uniform(-12, 0))
    if kind == "other" and (others := sources.others()):
        return OffScreenSound(kind="other", sound=_one_of(rng, others), alone=alone, level=level)
    if kind == "sound" and absent:
        sound = _one_of(rng, sources.sounds(_one_of(rng, absent)))
        return OffScreenSound(kind="sound", sound=sound, alone=alone, level=level)
    return OffScreenSound(
        kind="noise", sound="", alone=alone, level=float(rng.uniform(-40, 6)) if alone else level
    )


def sample_activity(
    rng: np.random.Generator, kind: Kind, n_objects: int, seconds: int = SECONDS
) -> Bool[np.ndarray, "t o"]:
    """Sample which object sounds in which second.

    S4-like: one object throughout. MS3-like: none (10 %), one, two or all (7 %) objects in a second; the clip is never
    silent as a whole, nor is the subset the same throughout.
    """
    active = np.zeros((seconds, n_objects), dtype=bool)
    if kind == "s4":
        active[:, rng.integers(n_objects)] = True
        return active
    chances = np.array(_MS3_COUNTS[: n_objects + 1])
    chances /= chances.sum()
    while not active.any() or (seconds > 1 and (active == active[0]).all()):
        for second in range(seconds):
            if second and rng.random() < _MS3_KEEP:
                active[second] = active[second - 1]
            else:
                count = rng.choice(len(chances), p=chances)
                active[second] = False
                active[second, rng.choice(n_objects, size=count, replace=False)] = True
    return active


def _held_out(split: str) -> tuple[bool, bool]:
    """Whether the split uses held-out pictures, and held-out recordings."""
    if split not in SPLITS:
        raise UserError(f"AVS-Collage has no split {split!r}; there are {', '.join(SPLITS)}")
    return split in ("test_unseen", "test_unseen_image"), split in (
        "test_unseen",
        "test_unseen_sound",
    )


def _place(
    rng: np.random.Generator,
    sources: CollageSources,
    category: str,
    column: int,
    count: int,
    new: tuple[bool, bool],
) -> PlacedObject:
    image = _one_of(rng, sources.images(category, new[0]))
    height, width = sources.load_image(image).shape[:2]
    size = float(rng.uniform(0.30, 0.55)) * (0.85 if count > 2 else 1.0)
    # A wide object would hide its neighbours: limit it to 1.3 columns.
    size = min(size, 1.3 / count * max(height, width) / width)
    half_width, half_height = (size * side / max(height, width) / 2 for side in (width, height))
    velocity = rng.uniform(-MAX_SPEED, MAX_SPEED, size=2)
    x = (column + 0.5 + rng.uniform(-0.2, 0.2)) / count
    y = rng.uniform(0.35, 0.75)
    return PlacedObject(
        category=category,
        image=image,
        sound=_one_of(rng, sources.sounds(category, new[1])),
        size=size,
        centre=(_inside(x, half_width), _inside(y, half_height)),
        velocity=tuple(velocity.tolist()),
        flip=bool(rng.random() < 0.5),
        contrast=float(rng.uniform(0.8, 1.2)),
        colour=tuple(rng.uniform(0.9, 1.1, 3).tolist()),
    )


def _inside(centre: float, half: float) -> float:
    """Move a centre so that the object lies inside the frame at mid-clip, if it fits."""
    return float(min(max(centre, half), 1 - half)) if half < 0.5 else 0.5


def _one_of(rng: np.random.Generator, ids: Sequence[str]) -> str:
    return ids[int(rng.integers(len(ids)))]
