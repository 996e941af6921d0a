"""A small folder of drawn pictures in CelebA's layout: a bar where Smiling is 1, a band in the colour of Hair."""

import csv
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from ecmvae.cli import main

SIDE = 16
BAR = (slice(11, 14), slice(4, 12))
"""Rows and columns of the bar."""
COLOURS = {"red": (220, 40, 40), "blue": (40, 40, 220)}


def picture(smiling: bool, hair: str, grey: int) -> np.ndarray:
    """(16, 16, 3) uint8."""
    pixels = np.full((SIDE, SIDE, 3), grey, np.uint8)
    pixels[:4] = COLOURS[hair]
    pixels[BAR] = 230 if smiling else 20
    return pixels


def write_pictures(root: Path, count: int = 60, seed: int = 0) -> Path:
    """Write `count` pictures, three quarters for training, and their attributes."""
    generator = np.random.default_rng(seed)
    home = root / "img_align_celeba"
    home.mkdir(parents=True)
    rows, splits = [["image_id", "Smiling", "Hair"]], []
    for number in range(count):
        smiling, hair = bool(generator.integers(2)), str(generator.choice(["red", "blue"]))
        name = f"{number:06}.png"
        Image.fromarray(picture(smiling, hair, int(generator.integers(60, 160)))).save(home / name)
        rows.append([name, "1" if smiling else "-1", hair])
        splits.append(f"{name} {2 if number % 8 == 7 else 1 if number % 8 == 6 else 0}")
    with (root / "attributes.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (root / "list_eval_partition.txt").write_text("\n".join(splits))
    return root


def config_of(root: Path, name: str, **fit: object) -> dict[str, dict[str, object]]:
    """A small model of the pictures in a folder."""
    model = {"name": name, "latent_dim": 4} | ({} if name == "face_vae" else {"hidden": 32})
    fit = {"epochs": 2, "batch_size": 16, "device": "cpu"} | fit
    return {"model": model, "data": {"name": f"folder:{root}", "size": SIDE}, "fit": fit}


def train(folder: Path, config: dict[str, dict[str, object]]) -> Path:
    """Train by the command, with the configuration in a file."""
    path = folder.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(config))
    assert main(["vae", "train", "--config", str(path), "--out", str(folder)]) == 0
    return folder
