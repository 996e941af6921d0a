"""A small set of AVS-Collage sources made of drawn shapes and tones, so that tests need no package."""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from ecmvae.audio.io import write_wave
from ecmvae.data.collage.items import SourceItem, write_index
from ecmvae.data.collage.sources import CollageSources

CLASSES = ("bar", "cross", "disc", "ring", "square", "wedge")
NEVER_HELD_OUT = "bar"
TONES = dict(zip(CLASSES, (220, 330, 500, 750, 1100, 1700), strict=True))
HELD_OUT_FACTOR = 1.2
OTHER_TONES = {"speech": 3000, "music": 4000}


def draw_shape(category: str, side: int) -> Image.Image:
    """A shape of its class's form, opaque on transparent, trimmed."""
    image = Image.new("RGBA", (side, side))
    pen, colour = (
        ImageDraw.Draw(image),
        (40 * CLASSES.index(category) + 30, 200 - 30 * CLASSES.index(category), 90, 255),
    )
    s = side - 1
    if category == "bar":
        pen.rectangle((0, s * 0.4, s, s * 0.6), fill=colour)
    elif category == "cross":
        pen.rectangle((0, s * 0.35, s, s * 0.65), fill=colour)
        pen.rectangle((s * 0.35, 0, s * 0.65, s), fill=colour)
    elif category == "disc":
        pen.ellipse((0, 0, s, s), fill=colour)
    elif category == "ring":
        pen.ellipse((0, 0, s, s), outline=colour, width=side // 5)
    elif category == "square":
        pen.rectangle((0, 0, s, s), fill=colour)
    else:
        pen.polygon([(0, s), (s, s), (s / 2, 0)], fill=colour)
    return image.crop(image.getchannel("A").getbbox())


def make_sources(root: Path, photographs: bool = False, things: bool = False) -> CollageSources:
    """Two known and one held-out picture and recording a class (none held out for `NEVER_HELD_OUT`), 9 backgrounds.

    Of each of two sorts of other sounds, one is known and one is held out.
    """
    for folder in ("images", "sounds", "others", "backgrounds"):
        (root / folder).mkdir(parents=True)
    items = []

    def add(kind, category, pool, item_id, file):
        items.append(
            SourceItem(
                id=item_id,
                kind=kind,
                category=category,
                pool=pool,
                package="drawn",
                path=item_id,
                file=file,
                licence="CC0-1.0",
                author="nobody",
                sha256="0" * 64,
            )
        )

    seconds = np.arange(16000 * 3 // 2) / 16000
    for category in CLASSES:
        for number, pool in enumerate(("known", "known", "held_out")):
            if pool == "held_out" and category == NEVER_HELD_OUT:
                continue
            item_id = f"{category}_{number}"
            draw_shape(category, 90 + 30 * number).save(root / f"images/{item_id}.png")
            add("image", category, pool, item_id, f"images/{item_id}.png")
            tone = TONES[category] * (HELD_OUT_FACTOR if pool == "held_out" else 1)
            write_wave(
                root / f"sounds/{item_id}.wav",
                torch.from_numpy(0.1 * math.sqrt(2) * np.sin(2 * np.pi * tone * seconds)),
            )
            add("sound", category, pool, item_id, f"sounds/{item_id}.wav")
    for sort, tone in OTHER_TONES.items():
        for pool, factor in (("known", 1), ("held_out", HELD_OUT_FACTOR)):
            item_id = f"{sort}_{pool}"
            samples = 0.1 * math.sqrt(2) * np.sin(2 * np.pi * tone * factor * seconds)
            write_wave(root / f"others/{item_id}.wav", torch.from_numpy(samples))
            add("other", sort, pool, item_id, f"others/{item_id}.wav")
    rng = np.random.default_rng(0)
    for number, split in enumerate(("train",) * 5 + ("val",) * 2 + ("test",) * 2):
        pixels = rng.integers(0, 255, size=(6, 8 + number % 3, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((200, 150)).save(root / f"backgrounds/wall_{number}.jpg")
        add("background", "", split, f"wall_{number}", f"backgrounds/wall_{number}.jpg")
    if things:  # of no class
        draw_shape(CLASSES[0], 100).rotate(30, expand=True).save(root / "images/thing.png")
        add("image", "", "known", "thing", "images/thing.png")
    if photographs:
        (root / "photographs").mkdir()
        for category in CLASSES:
            draw_shape(category, 120).convert("RGB").save(root / f"photographs/{category}.jpg")
            add("photograph", category, "test", f"photo_{category}", f"photographs/{category}.jpg")
    write_index(root, items, packages=["drawn_1.0 0000"])
    return CollageSources(root)
