"""Small data sets in AVSBench's exact folder layouts, for tests and for trying out every command without AVSBench.

The clips come from AVS-Collage (real photographs and recordings), or are moving shapes where it is not available. Names
and files follow the release: first masks only in S4's training split, ".mp4" inside MS3's frame names, 1-bit and
palette masks, log-mel patches pickled with their gradient flag on; coloured labels and metadata.csv for AVSS.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ecmvae.audio.io import SAMPLE_RATE, read_wave, resample, write_wave
from ecmvae.audio.vggish import log_mel_patches
from ecmvae.data.avsbench import AVSBenchDataset
from ecmvae.data.avss import NUM_CLASSES, SUBSET_SECONDS, AVSSFiles, save_classes
from ecmvae.data.clips import SoundedClips
from ecmvae.data.images import sounding_masks
from ecmvae.data.layout import TASKS, ClipFiles, read_clips, write_table
from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.data.video import write_video
from ecmvae.errors import UserError
from ecmvae.files import replacing, write_json

RELEASED_SIDE = 224
"""Side of AVSBench's frames and masks in pixels."""

_RAW_FPS = 8


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A clip before it is written."""

    category: str
    """Class of the sounding object, or ""."""
    pictures: UInt8[np.ndarray, "t h w 3"]
    objects: UInt8[np.ndarray, "t h w"]
    """0 = background, k = object k."""
    sounding: Bool[np.ndarray, "t o"]
    classes: tuple[str, ...]
    """Names of the O objects."""
    waveform: Float[Tensor, " s"]
    """16 kHz."""

    @property
    def masks(self) -> NDArray[np.bool_]:
        """(T, H, W): where an object sounds."""
        return sounding_masks(self.objects, self.sounding)


class Scenes:
    """Scenes of composed data sets, whose clips say what is seen where and what sounds when."""

    def __init__(self, *sets: SoundedClips) -> None:
        self.sets = sets

    def scene(self, index: int) -> Scene:
        """Clip number `index`, counted through all sets and starting over at the end."""
        index %= sum(len(clips) for clips in self.sets)
        for clips in self.sets:
            if index < len(clips):
                break
            index -= len(clips)
        clip = clips[index]
        if clip.objects is None or clip.sounding is None or clip.waveform is None:
            raise UserError(f"{clip.name}: has no object masks, so it is not a clip of AVS-Collage")
        return Scene(
            category=clip.category,
            pictures=rearrange(clip.frames, "t c h w -> t h w c").contiguous().numpy(),
            objects=clip.objects.numpy().astype(np.uint8),
            sounding=clip.sounding.numpy(),
            classes=clips.classes(index),
            waveform=resample(clip.waveform, clip.sample_rate),
        )


class ShapeScenes(Scenes):
    """Scenes of `SyntheticAVS` of a task ("s4" or "ms3"), a size in pixels and a seed: nothing but arithmetic."""

    def __init__(
        self, task: Literal["s4", "ms3"], size: int = RELEASED_SIDE, seed: int = 0
    ) -> None:
        super().__init__(SyntheticAVS(task, length=1_000_000, size=size, seed=seed))


class CollageScenes(Scenes):
    """Scenes of the AVS-Collage that `ecmvae.data.collage.writer` wrote to `root`, resized to `size` pixels."""

    def __init__(
        self, root: str | Path, task: Literal["s4", "ms3"], size: int = RELEASED_SIDE
    ) -> None:
        splits = dict.fromkeys(clip.split for clip in read_clips(root, task))
        sets = [
            AVSBenchDataset(root, task, split, image_size=size, audio="wav") for split in splits
        ]
        if not sets[0].composition:
            raise UserError(
                f"{root}: has no clips.json, so it is not AVS-Collage; make one with data_prep/collage.py"
            )
        super().__init__(*sets)


def write_miniatures(
    root: str | Path, counts: Mapping[str, int], collage: str | Path | None = None
) -> None:
    """Write S4, MS3 and, in the folder AVSS, AVSS, with raw videos.

    Args:
        root: Folder to make.
        counts: Clips of each split.
        collage: AVS-Collage on disk to take the scenes from; None = moving shapes.

    Raises:
        UserError: If one of them exists already, or there is no AVS-Collage in that folder.
    """
    single, several = (_scenes_of(collage, "s4"), _scenes_of(collage, "ms3"))
    write_miniature(root, "s4", counts, source=single, raw_video=True)
    write_miniature(root, "ms3", counts, source=several, raw_video=True)
    write_miniature_avss(Path(root) / "AVSS", counts, single=single, several=several)


def _scenes_of(collage: str | Path | None, task: Literal["s4", "ms3"]) -> Scenes:
    return ShapeScenes(task) if collage is None else CollageScenes(collage, task)


def write_miniature(
    root: str | Path,
    task: Literal["s4", "ms3"],
    counts: Mapping[str, int] | None = None,
    *,
    source: Scenes | None = None,
    composed: bool = False,
    raw_video: bool = False,
) -> Path:
    """Write a miniature S4 or MS3 in the released layout.

    Args:
        root: Folder to hold `Single-source` or `Multi-sources`, which must not exist yet.
        task: "s4" or "ms3".
        counts: Clips of each split; None = 4 train, 2 val, 2 test.
        source: Where scenes come from; None = moving shapes.
        composed: Also write `object_masks/` and `clips.json`, as AVS-Collage has them, and every training mask.
        raw_video: Also write `raw_videos/`: each picture stands still for its second.

    Returns:
        The task's folder.

    Raises:
        UserError: If the task's folder exists already.
    """
    layout = TASKS[task]
    target = Path(root) / layout.folder
    if target.exists():
        raise UserError(f"{target}: exists already; choose another folder or remove it")
    source = source or ShapeScenes(task)
    rows, about = [], {}
    with replacing(target) as folder:
        for index, split in enumerate(_splits(counts or {"train": 4, "val": 2, "test": 2})):
            scene = source.scene(index)
            # MS3's names look like video ids, some with a suffix for the part of the video.
            name = f"mini{index:07d}" + ("_1" if task == "ms3" and index % 2 else "")
            category = (scene.category or "none") if layout.category_column else ""
            clip = ClipFiles(
                base=folder / layout.data, task=task, name=name, split=split, category=category
            )
            first_only = task == "s4" and split == "train" and not composed
            _write_clip(
                clip, scene, masks=1 if first_only else len(scene.pictures), composed=composed
            )
            if raw_video:
                stills = np.repeat(scene.pictures, _RAW_FPS, axis=0)
                clip.raw_video.parent.mkdir(parents=True, exist_ok=True)
                write_video(clip.raw_video, stills, _RAW_FPS, scene.waveform.numpy(), SAMPLE_RATE)
            rows.append(layout.row(clip))
            about[name] = {"objects": list(scene.classes), "sounding": scene.sounding.tolist()}
        write_table(folder / layout.table, rows)
        if composed:
            write_json(folder / "clips.json", about)
    return target


def write_miniature_avss(
    root: str | Path,
    counts: Mapping[str, int] | None = None,
    *,
    single: Scenes | None = None,
    several: Scenes | None = None,
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
        UserError: If the folder is not empty, or the scenes have more classes than AVSS.
    """
    root = Path(root)
    if root.exists() and any(root.iterdir()):
        raise UserError(f"{root}: is not empty; choose another folder")
    single, several = single or ShapeScenes("s4"), several or ShapeScenes("ms3")
    numbers: dict[str, int] = {"background": 0}
    rows, index = [], 0
    with replacing(root) as folder:
        for subset, seconds in SUBSET_SECONDS.items():
            source = single if subset == "v1s" else several
            for split in _splits(counts or {"train": 2, "val": 1, "test": 1}):
                scenes = [source.scene(index + part) for part in range(seconds // 5)]
                clip = AVSSFiles(
                    root=folder, name=f"mini{index:07d}_0_{seconds}000", split=split, subset=subset
                )
                _write_avss_clip(clip, scenes, numbers)
                rows.append(_avss_row(clip, scenes))
                index += len(scenes)
        numbers |= {f"unused_{k}": k for k in range(len(numbers), NUM_CLASSES)}
        write_json(folder / "label2idx.json", numbers)
        write_table(folder / "metadata.csv", rows)
    return root


def _splits(counts: Mapping[str, int]) -> list[str]:
    """The split of every clip."""
    return [split for split, count in counts.items() for _ in range(count)]


def _write_clip(clip: ClipFiles, scene: Scene, *, masks: int, composed: bool) -> None:
    for path in (clip.frame(1), clip.mask(1), clip.wav, clip.log_mel):
        path.parent.mkdir(parents=True, exist_ok=True)
    for k, picture in enumerate(scene.pictures, start=1):
        Image.fromarray(picture).save(clip.frame(k))
    for k, mask in enumerate(scene.masks[:masks], start=1):
        # As released: S4 has 1-bit masks, MS3 palette ones.
        image = (
            Image.fromarray(mask)
            if clip.task == "s4"
            else _palette(mask.astype(np.uint8) * np.uint8(255))
        )
        image.save(clip.mask(k))
    if composed:
        clip.mask(1, "object_masks").parent.mkdir(parents=True, exist_ok=True)
        for k, numbers in enumerate(scene.objects, start=1):
            _palette(numbers).save(clip.mask(k, "object_masks"))
    write_wave(clip.wav, scene.waveform, SAMPLE_RATE)
    patches = log_mel_patches(*read_wave(clip.wav)).requires_grad_()
    clip.log_mel.write_bytes(pickle.dumps(patches))


def _palette(numbers: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(numbers)  # mode L; a palette makes it P
    objects = [0, 0, 0, 255, 255, 255, 230, 60, 60, 60, 200, 60, 60, 90, 230]
    # masks are index 255
    image.putpalette([*objects, *[0] * (255 * 3 - len(objects)), 255, 255, 255])
    return image


def _write_avss_clip(clip: AVSSFiles, scenes: list[Scene], numbers: dict[str, int]) -> None:
    clip.frame(0).parent.mkdir(parents=True)
    clip.label(0).parent.mkdir(parents=True)
    for k, picture in enumerate(np.concatenate([scene.pictures for scene in scenes])):
        Image.fromarray(picture).save(clip.frame(k), quality=95)
    classes = np.concatenate([_class_numbers(scene, numbers) for scene in scenes])
    for k in range(clip.labelled):
        save_classes(clip.label(k), classes[k])
    write_wave(clip.wav, torch.cat([scene.waveform for scene in scenes]), SAMPLE_RATE)


def _class_numbers(scene: Scene, numbers: dict[str, int]) -> np.ndarray:
    """(T, H, W) class number of every pixel that sounds; new classes get the next number."""
    of_object = [0, *(numbers.setdefault(name, len(numbers)) for name in scene.classes)]
    if len(numbers) > NUM_CLASSES:
        raise UserError(
            f"the scenes have more classes than the {NUM_CLASSES - 1} that AVSS has room for"
        )
    classes: np.ndarray = np.array(of_object, np.uint8)[scene.objects] * scene.masks.astype(
        np.uint8
    )
    return classes


def _avss_row(clip: AVSSFiles, scenes: list[Scene]) -> dict[str, str]:
    sounding = dict.fromkeys(
        name
        for scene in scenes
        for k, name in enumerate(scene.classes)
        if scene.sounding[:, k].any()
    )
    row = {"vid": clip.name.partition("_")[0], "uid": clip.name, "s_min": "0", "s_sec": "0"}
    return row | {"a_obj": "_".join(sounding), "split": clip.split, "label": clip.subset}
