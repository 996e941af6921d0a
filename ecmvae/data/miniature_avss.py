"""A small AVSBench-semantic in its exact layout, made of the same scenes as the miniature S4 and MS3."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ecmvae.audio.io import SAMPLE_RATE, write_wave
from ecmvae.data.avss import NUM_CLASSES, SUBSET_SECONDS, AVSSFiles, save_classes
from ecmvae.data.miniature import Scene, SceneSource, ShapeScenes
from ecmvae.errors import UserError
from ecmvae.files import replacing


def write_miniature_avss(
    root: str | Path,
    counts: Mapping[str, int] | None = None,
    *,
    single: SceneSource | None = None,
    several: SceneSource | None = None,
) -> Path:
    """Write a miniature AVSS: metadata.csv, label2idx.json and the folders v1s, v1m and v2.

    Args:
        root: Folder to make; it must not exist yet or be empty.
        counts: Clips of each split *in each subset*; None = 2 train, 1 val, 1 test.
        single: Scenes for v1s; None = moving shapes.
        several: Scenes for v1m and v2; two of them make ten seconds. None = moving shapes.

    Returns:
        The folder.

    Raises:
        UserError: When the folder holds something already, or the scenes have more classes than AVSS.
    """
    root = Path(root)
    if root.exists() and any(root.iterdir()):
        raise UserError(f"{root}: is not empty; choose another folder")
    single, several = single or ShapeScenes("s4"), several or ShapeScenes("ms3")
    numbers: dict[str, int] = {"background": 0}
    rows = []
    with replacing(root) as folder:
        index = 0
        for subset, seconds in SUBSET_SECONDS.items():
            for split, count in (counts or {"train": 2, "val": 1, "test": 1}).items():
                for _ in range(count):
                    source = single if subset == "v1s" else several
                    scenes = [source.scene(index + part) for part in range(seconds // 5)]
                    clip = AVSSFiles(root=folder, name=f"mini{index:07d}_0_{seconds}000", split=split, subset=subset)
                    _write_clip(clip, scenes, numbers)
                    rows.append(_row(clip, scenes))
                    index += len(scenes)
        numbers |= {f"unused_{k}": k for k in range(len(numbers), NUM_CLASSES)}
        (folder / "label2idx.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
        with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return root


def _row(clip: AVSSFiles, scenes: list[Scene]) -> dict[str, str]:
    sounding = dict.fromkeys(
        name for scene in scenes for k, name in enumerate(scene.classes) if scene.sounding[:, k].any()
    )
    return {
        "vid": clip.name.partition("_")[0],
        "uid": clip.name,
        "s_min": "0",
        "s_sec": "0",
        "a_obj": "_".join(sounding),
        "split": clip.split,
        "label": clip.subset,
    }


def _write_clip(clip: AVSSFiles, scenes: list[Scene], numbers: dict[str, int]) -> None:
    clip.frame(0).parent.mkdir(parents=True)
    clip.label(0).parent.mkdir(parents=True)
    pictures = np.concatenate([scene.pictures for scene in scenes])
    classes = np.concatenate([_classes(scene, numbers) for scene in scenes])
    for k, picture in enumerate(pictures):
        Image.fromarray(picture).save(clip.frame(k), quality=95)
    for k in range(clip.labelled):
        save_classes(clip.label(k), classes[k])
    write_wave(clip.wav, torch.cat([scene.waveform for scene in scenes]), SAMPLE_RATE)


def _classes(scene: Scene, numbers: dict[str, int]) -> np.ndarray:
    """(T, H, W) class number of every pixel that sounds; new classes get the next number."""
    of_object = [0, *(numbers.setdefault(name, len(numbers)) for name in scene.classes)]
    if len(numbers) > NUM_CLASSES:
        raise UserError(f"the scenes have more classes than the {NUM_CLASSES - 1} that AVSS has room for")
    classes: np.ndarray = np.array(of_object, np.uint8)[scene.objects] * scene.masks.astype(np.uint8)
    return classes
