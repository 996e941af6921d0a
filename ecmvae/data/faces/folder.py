"""Faces as files, in CelebA's layout.

CelebA: Liu et al., "Deep learning face attributes in the wild", 2015 (arXiv:1411.7766).
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ecmvae.data.faces.draw import draw_face
from ecmvae.data.faces.look import Look, Variation, random_look, random_variation
from ecmvae.errors import UserError
from ecmvae.files import replacing, show_path

PICTURES = "img_align_celeba"
HELD_OUT = 10
"""A tenth of the faces each is for validation and test."""


def sample_face(seed: int, number: int) -> tuple[Look, Variation]:
    """Look and variation of face `number` of a seed: it does not depend on how many faces there are."""
    generator = np.random.default_rng([seed, number])
    return random_look(generator), random_variation(generator)


def write_faces(
    out: Path,
    count: int,
    *,
    size: int = 64,
    seed: int = 0,
    advance: Callable[[int], object] | None = None,
) -> None:
    """Draw faces and write them with their factors.

    ``img_align_celeba/000001.png`` and so on; ``list_attr_celeba.txt`` with the binary attributes, 1 or -1;
    ``attributes.csv`` with those, 1 or 0, and the categorical factors; ``list_eval_partition.txt`` with the split: the
    first 80 % train, 10 % validation, 10 % test.

    Args:
        out: The new folder. It appears when all is written.
        count: How many faces.
        size: Height and width in pixels.
        seed: Of all looks and variations.
        advance: Called with 1 after each face.

    Raises:
        UserError: If the folder exists and is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{show_path(out)} exists: choose a new folder, or delete it")
    with replacing(out) as part:
        (part / PICTURES).mkdir(parents=True)
        looks: dict[str, Look] = {}
        for number in range(count):
            look, variation = sample_face(seed, number)
            name = f"{number + 1:06d}.png"
            Image.fromarray(draw_face(look, variation, size)).save(
                part / PICTURES / name, compress_level=3
            )
            looks[name] = look
            if advance is not None:
                advance(1)
        _write_tables(part, looks)


def _write_tables(folder: Path, looks: dict[str, Look]) -> None:
    flags = {name: look.flags for name, look in looks.items()}
    names = list(next(iter(flags.values())))
    lines = [str(len(looks)), " ".join(names)]
    lines += [
        f"{name} {' '.join('1' if value else '-1' for value in row.values())}"
        for name, row in flags.items()
    ]
    (folder / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    with (folder / "attributes.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image_id", *names, *next(iter(looks.values())).words])
        for name, look in looks.items():
            writer.writerow([name, *map(int, flags[name].values()), *look.words.values()])
    held_out = len(looks) // HELD_OUT
    splits = [0] * (len(looks) - 2 * held_out) + [1] * held_out + [2] * held_out
    rows = [f"{name} {split}" for name, split in zip(looks, splits, strict=True)]
    (folder / "list_eval_partition.txt").write_text("\n".join(rows) + "\n")
