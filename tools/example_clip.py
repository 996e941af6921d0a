"""Make docs/assets/example.mp4: five seconds in which a cow moos and then a sheep bleats.

Two photographs that no model of ours was trained on are cut out (GrabCut) and glide over a third; two CC0 recordings
take turns. The notebook and the README's strip show this clip; docs/assets/SOURCES.md credits every source.

    python tools/example_clip.py --animals explore_farm_animals.rcc --sources CACHE

--animals is a file of Debian's gcompris-qt-data, unpacked (dpkg -x); --sources is the prepared cache of AVS-Collage.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ecmvae.audio.io import SAMPLE_RATE, read_wave
from ecmvae.data.collage.containers import QtResources
from ecmvae.data.collage.sources import CollageSources
from ecmvae.data.video import write_video

SIZE, FPS, SECONDS = 480, 20, 5
ANIMALS = {  # photo -> (box around the animal as fractions, its long side, left edge and feet in the clip, recording)
    "cow": ((0.21, 0.34, 0.92, 0.92), 192, 29, 461, "ovos_cow"),
    "sheep": ((0.22, 0.10, 0.72, 0.90), 192, 266, 461, "ovos_sheep"),
}
BACKGROUND = "gcompris_monument2"
LOUDNESS, FADE = 0.1, 0.03  # root mean square; seconds


def main() -> None:
    """Compose the clip."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--animals", type=Path, required=True)
    parser.add_argument("--sources", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/assets/example.mp4"))
    args = parser.parse_args()
    files = {item.id: args.sources / item.file for item in CollageSources(args.sources).items}
    photos = QtResources(args.animals)
    animals = [
        (cut_out(photos, name, box, side), x, feet)
        for name, (box, side, x, feet, _) in ANIMALS.items()
    ]
    recordings = [recording(files[sound]) for *_, sound in ANIMALS.values()]
    write_video(
        args.out, frames(files[BACKGROUND], animals), FPS, np.concatenate(recordings), SAMPLE_RATE
    )


def cut_out(
    photos: QtResources, name: str, box: tuple[float, float, float, float], side: int
) -> Image.Image:
    """The animal in the box of a photo, RGBA, `side` pixels along its longer side."""
    (path,) = (each for each in photos.names() if each.endswith(f"/{name}.webp"))
    photo = Image.open(io.BytesIO(photos.read(path))).convert("RGB")
    left, top, right, bottom = (
        round(part * each) for part, each in zip(box, photo.size * 2, strict=True)
    )
    labels = np.zeros((photo.height, photo.width), np.uint8)
    cv2.setRNGSeed(0)
    rectangle, models = (
        (left, top, right - left, bottom - top),
        (np.zeros((1, 65)), np.zeros((1, 65))),
    )
    cv2.grabCut(
        np.asarray(photo)[..., ::-1].copy(), labels, rectangle, *models, 6, cv2.GC_INIT_WITH_RECT
    )
    _, parts, sizes, _ = cv2.connectedComponentsWithStats(
        np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    )
    # without the crumbs around it
    inside = (parts == 1 + sizes[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)
    inside = cv2.erode(cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((3, 3))), np.ones((3, 3)))
    alpha = Image.fromarray(cv2.GaussianBlur(inside * np.uint8(255), (0, 0), 1.2))
    photo.putalpha(alpha)
    animal = photo.crop(alpha.point(lambda value: 255 * (value > 8)).getbbox())
    scale = side / max(animal.size)
    return animal.resize(
        (round(animal.width * scale), round(animal.height * scale)), Image.Resampling.LANCZOS
    )


def frames(background: Path, animals: list[tuple[Image.Image, int, int]]) -> list[np.ndarray]:
    """All frames; the animals sway so that the clip can be played in a loop."""
    photo = Image.open(background).convert("RGB")
    side = min(photo.size)
    left = (photo.width - side) // 2
    photo = photo.crop((left, 0, left + side, side)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    shown = []
    for index in range(SECONDS * FPS):
        frame = photo.copy()
        for number, (animal, x, feet) in enumerate(animals):
            sway = np.sin(2 * np.pi * (index / (SECONDS * FPS) + number / 2))
            at = round(x + 7 * sway), feet - animal.height
            frame.paste(animal, at, animal)
        shown.append(np.asarray(frame))
    return shown


def recording(path: Path) -> np.ndarray:
    """The loud part of a recording, looped over its animal's half of the clip."""
    samples = read_wave(path)[0].numpy()
    loud = np.flatnonzero(np.abs(samples) > 0.05 * np.abs(samples).max())
    half = np.resize(samples[loud[0] : loud[-1] + 1], SECONDS * SAMPLE_RATE // 2)
    half = half * LOUDNESS / np.sqrt(np.mean(half**2))
    ends = np.minimum(np.arange(half.size), np.arange(half.size)[::-1]) / (FADE * SAMPLE_RATE)
    return (half * np.minimum(ends, 1)).clip(-1, 1).astype(np.float32)


if __name__ == "__main__":
    main()
