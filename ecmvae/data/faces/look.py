"""What a drawn face looks like: labelled factors (`Look`), and unlabelled ones (`Variation`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

FACTORS: Mapping[str, Mapping[str, float]] = {
    "Skin": {"Pale": 0.2, "Light": 0.2, "Tanned": 0.2, "Brown": 0.2, "DarkBrown": 0.2},
    "Hair": {
        "NoHair": 0.1,
        "ShortHairShortFlat": 0.18,
        "ShortHairShortWaved": 0.14,
        "ShortHairFrizzle": 0.14,
        "LongHairStraight": 0.18,
        "LongHairCurly": 0.14,
        "LongHairBun": 0.12,
    },
    "Hair_Color": {
        "Black": 0.2,
        "Brown": 0.2,
        "Blonde": 0.2,
        "Red": 0.15,
        "SilverGray": 0.15,
        "PastelPink": 0.1,
    },
    "Top": {"Hoodie": 0.25, "Overall": 0.25, "ShirtScoopNeck": 0.25, "ShirtVNeck": 0.25},
    "Clothes_Color": {
        "Black": 0.125,
        "Blue01": 0.125,
        "Gray01": 0.125,
        "PastelGreen": 0.125,
        "PastelOrange": 0.125,
        "Pink": 0.125,
        "Red": 0.125,
        "White": 0.125,
    },
    "Accessories": {"Blank": 0.5, "Round": 0.25, "Sunglasses": 0.25},
    "Eyes": {
        "Default": 0.4,
        "Side": 0.15,
        "Happy": 0.15,
        "Squint": 0.1,
        "Surprised": 0.1,
        "Wink": 0.1,
    },
    "Mouth": {"Sad": 0.15, "Serious": 0.2, "Twinkle": 0.15, "Smile": 0.25, "Grin": 0.25},
    "Pose": {"Left": 0.15, "HalfLeft": 0.2, "Front": 0.3, "HalfRight": 0.2, "Right": 0.15},
}
"""Categorical factor -> its values and how often each is drawn. All factors are independent."""

FLAGS: Mapping[str, float] = {"Mouth_Slightly_Open": 0.4, "Wearing_Hat": 0.2, "Mustache": 0.2}
"""Binary factor, under CelebA's name -> how often it is there."""

SMILES: Mapping[str, float] = {
    "Sad": -0.6,
    "Serious": 0.0,
    "Twinkle": 0.3,
    "Smile": 0.7,
    "Grin": 1.0,
}
"""Degree of smile of each mouth, from -1 to 1."""

TURNS: Mapping[str, float] = {
    "Left": -1.0,
    "HalfLeft": -0.5,
    "Front": 0.0,
    "HalfRight": 0.5,
    "Right": 1.0,
}
"""How far each pose turns the head, from -1 (to the picture's left) to 1."""

SMILING_FROM = 0.5
"""Degree of smile from which a face counts as smiling."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """The factors of a face; a word must be one of `FACTORS`.

    `smile` and `turn` are degrees, so that a face can be drawn between two words, too.
    """

    skin: str = "Light"
    hair: str = "ShortHairShortFlat"
    hair_color: str = "Brown"
    top: str = "ShirtScoopNeck"
    clothes_color: str = "Blue01"
    accessories: str = "Blank"
    eyes: str = "Default"
    smile: float = 0.0
    """Corners of the mouth: -1 down, 0 straight, 1 up."""
    turn: float = 0.0
    """Head: -1 to the picture's left, 0 to the front, 1 to the right."""
    mouth_open: bool = False
    hat: bool = False
    mustache: bool = False

    def __post_init__(self) -> None:
        for factor in ("Skin", "Hair", "Hair_Color", "Top", "Clothes_Color", "Accessories", "Eyes"):
            value = getattr(self, factor.lower())
            if value not in FACTORS[factor]:
                raise ValueError(
                    f"{factor} {value!r} is not known: choose from {', '.join(FACTORS[factor])}"
                )
        for name in ("smile", "turn"):
            if not -1.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be from -1 to 1, got {getattr(self, name)}")

    @property
    def flags(self) -> dict[str, bool]:
        """The binary attributes under CelebA's names."""
        return {
            "Smiling": self.smile >= SMILING_FROM,
            "Eyeglasses": self.accessories != "Blank",
            "Wearing_Hat": self.hat,
            "Mustache": self.mustache,
            "Mouth_Slightly_Open": self.mouth_open,
        }

    @property
    def words(self) -> dict[str, str]:
        """The categorical factors; for degrees, the nearest word."""
        return {
            "Skin": self.skin,
            "Hair": self.hair,
            "Hair_Color": self.hair_color,
            "Top": self.top,
            "Clothes_Color": self.clothes_color,
            "Accessories": self.accessories,
            "Eyes": self.eyes,
            "Mouth": min(SMILES, key=lambda word: abs(SMILES[word] - self.smile)),
            "Pose": min(TURNS, key=lambda word: abs(TURNS[word] - self.turn)),
        }


@dataclass(frozen=True, kw_only=True)
class Variation:
    """What differs between two pictures of the same look. The defaults are a plain picture."""

    shift: tuple[float, float] = (0.0, 0.0)
    """Right and down, as shares of the picture's side."""
    scale: float = 1.0
    """Of the figure."""
    roll: float = 0.0
    """Degrees, clockwise."""
    light: float = 0.0
    """Brightness at the right edge minus that at the left edge, as a share."""
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors on the figure's red, green and blue."""
    background: tuple[int, int, int] = (206, 220, 230)
    """Colour behind the figure, 0 to 255."""
    hat_color: tuple[int, int, int] = (52, 78, 120)
    """0 to 255: the hat has a colour of its own."""


def random_look(generator: np.random.Generator) -> Look:
    """Draw every factor independently, with the frequencies of `FACTORS` and `FLAGS`."""
    words = {name: _word(generator, table) for name, table in FACTORS.items()}
    flags = {name: bool(generator.random() < share) for name, share in FLAGS.items()}
    smile = SMILES[words["Mouth"]] + generator.uniform(-0.1, 0.1)
    turn = TURNS[words["Pose"]] + generator.uniform(-0.15, 0.15)
    return Look(
        skin=words["Skin"],
        hair=words["Hair"],
        hair_color=words["Hair_Color"],
        top=words["Top"],
        clothes_color=words["Clothes_Color"],
        accessories=words["Accessories"],
        eyes=words["Eyes"],
        smile=float(np.clip(smile, -1.0, 1.0)),
        turn=float(np.clip(turn, -1.0, 1.0)),
        mouth_open=flags["Mouth_Slightly_Open"],
        hat=flags["Wearing_Hat"],
        mustache=flags["Mustache"],
    )


def random_variation(generator: np.random.Generator) -> Variation:
    """Small changes of place, size, light and colour, and a pale background."""
    hue = generator.uniform(0, 2 * np.pi)
    pale = 210 + 16 * np.cos(hue + np.array([0.0, 2.1, 4.2])) + generator.uniform(-12, 10)
    hats: Sequence[tuple[int, int, int]] = ((52, 78, 120), (140, 50, 60), (60, 100, 80))
    red, green, blue = (int(value) for value in pale.clip(0, 255))
    return Variation(
        shift=(generator.uniform(-0.015, 0.015), generator.uniform(-0.01, 0.01)),
        scale=generator.uniform(1.1, 1.16),
        roll=generator.uniform(-2.0, 2.0),
        light=generator.uniform(-0.15, 0.15),
        tint=(
            generator.uniform(0.97, 1.02),
            generator.uniform(0.97, 1.02),
            generator.uniform(0.97, 1.02),
        ),
        background=(red, green, blue),
        hat_color=hats[int(generator.integers(len(hats)))],
    )


def _word(generator: np.random.Generator, table: Mapping[str, float]) -> str:
    index = np.searchsorted(np.cumsum(list(table.values())), generator.random(), side="right")
    return list(table)[min(int(index), len(table) - 1)]
