"""Small data sets in AVSBench's exact folder layouts, for tests and for trying out every command without AVSBench.

The clips come from AVS-Collage (real photographs and recordings), or are moving shapes where it is not at hand. Names
and files follow the release: first masks only in S4's training split, ".mp4" inside MS3's frame names, 1-bit and
palette masks, log-mel patches pickled with their gradient flag on.
"""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ecmvae.audio.io import SAMPLE_RATE, read_wave, resample, write_wave
from ecmvae.audio.vggish import log_mel_patches
from ecmvae.data.images import read_indices, read_rgb, sounding_masks
from ecmvae.data.layout import TASKS, ClipFiles, find_table
from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.data.video import write_video
from ecmvae.errors import UserError
from ecmvae.files import replacing

RELEASED_SIDE = 224
"""Side of AVSBench's frames and masks in pixels."""

_RAW_FPS = 8


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A clip before it is written.

    Attributes:
        category: Class of the sounding object, or "".
        pictures: (T, H, W, 3) RGB.
        objects: (T, H, W), 0 = background, k = object k.
        sounding: (T, O), whether object k sounds in a second.
        classes: Names of the O objects.
        waveform: (S,) at 16 kHz.
    """

    category: str
    pictures: UInt8[np.ndarray, "t h w 3"]
    objects: UInt8[np.ndarray, "t h w"]
    sounding: Bool[np.ndarray, "t o"]
    classes: tuple[str, ...]
    waveform: Float[Tensor, " s"]

    @property
    def masks(self) -> NDArray[np.bool_]:
        """(T, H, W): where an object sounds."""
        return sounding_masks(self.objects, self.sounding)


@runtime_checkable
class SceneSource(Protocol):
    """Something that composes clips one by one."""

    def scene(self, index: int) -> Scene:
        """Clip number `index`."""


class ShapeScenes:
    """Scenes of `SyntheticAVS`: nothing but arithmetic.

    Args:
        task: "s4" (one shape sounds throughout) or "ms3" (a changing subset).
        size: Side of the pictures in pixels.
        seed: Scenes of another seed are other scenes.
    """

    def __init__(self, task: Literal["s4", "ms3"], size: int = RELEASED_SIDE, seed: int = 0) -> None:
        self.clips = SyntheticAVS(task, length=1_000_000, size=size, seed=seed)

    def scene(self, index: int) -> Scene:
        """Clip number `index`."""
        pictures, objects = self.clips.frames(index)
        _, sounding = self.clips.sound(index, 0)
        classes = self.clips.classes(index)
        return Scene(
            category=classes[int(sounding[0].long().argmax())],
            pictures=pictures,
            objects=objects,
            sounding=sounding.numpy(),
            classes=classes,
            waveform=self.clips.waveform(index)[0],
        )


class CollageScenes:
    """Scenes of an AVS-Collage root on disk, read back and resized.

    Args:
        root: Folder that `ecmvae.data.collage.clips` wrote.
        task: "s4" or "ms3".
        size: Side of the pictures in pixels.
    """

    def __init__(self, root: str | Path, task: Literal["s4", "ms3"], size: int = RELEASED_SIDE) -> None:
        from ecmvae.data.avsbench import AVSBenchDataset, read_composition
        from ecmvae.data.layout import read_clips

        splits = list(dict.fromkeys(clip.split for clip in read_clips(root, task)))
        self.clips = [(data, k) for data in (AVSBenchDataset(root, task, s) for s in splits) for k in range(len(data))]
        self.composed = read_composition(find_table(root, task).parent / "clips.json")
        self.size = size
        if not self.composed:
            raise UserError(f"{root}: has no clips.json, so it is no AVS-Collage; make one with data_prep/collage.py")

    def scene(self, index: int) -> Scene:
        """Clip number `index`, counted through all splits and starting over at the end."""
        data, k = self.clips[index % len(self.clips)]
        clip, seconds = data.clips[k], range(1, data.num_frames + 1)
        composed = self.composed[clip.name]
        waveform, rate = data.waveform(k)
        return Scene(
            category=clip.category,
            pictures=np.stack([self._resize(read_rgb(clip.frame(s)), Image.Resampling.BICUBIC) for s in seconds]),
            objects=np.stack(
                [self._resize(read_indices(clip.mask(s, "object_masks")), Image.Resampling.NEAREST) for s in seconds]
            ),
            sounding=np.array(composed["sounding"], bool)[: data.num_frames],
            classes=tuple(composed["objects"]),
            waveform=resample(waveform, rate),
        )

    def _resize(self, pixels: NDArray[np.uint8], method: Image.Resampling) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(pixels).resize((self.size, self.size), method))


def write_miniature(
    root: str | Path,
    task: Literal["s4", "ms3"],
    counts: Mapping[str, int] | None = None,
    *,
    source: SceneSource | None = None,
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
        UserError: When the task's folder exists already.
    """
    layout, root = TASKS[task], Path(root)
    target = root / layout.folder
    if target.exists():
        raise UserError(f"{target}: exists already; choose another folder or remove it")
    source = source or ShapeScenes(task)
    rows, about = [], {}
    with replacing(target) as folder:
        index = 0
        for split, count in (counts or {"train": 4, "val": 2, "test": 2}).items():
            for _ in range(count):
                scene = source.scene(index)
                # MS3's names look like video ids, some with a suffix for the part of the video.
                name = f"mini{index:07d}" + ("_1" if task == "ms3" and index % 2 else "")
                clip = ClipFiles(
                    base=folder / layout.data,
                    task=task,
                    name=name,
                    split=split,
                    category=(scene.category or "none") if layout.category_column else "",
                )
                first_only = task == "s4" and split == "train" and not composed
                _write_clip(clip, scene, masks=1 if first_only else len(scene.pictures), composed=composed)
                if raw_video:
                    stills = np.repeat(scene.pictures, _RAW_FPS, axis=0)
                    clip.raw_video.parent.mkdir(parents=True, exist_ok=True)
                    write_video(clip.raw_video, iter(stills), _RAW_FPS, scene.waveform.numpy(), SAMPLE_RATE)
                rows.append(_row(clip))
                about[name] = {"objects": list(scene.classes), "sounding": scene.sounding.tolist()}
                index += 1
        _write_table(folder / layout.table, rows)
        if composed:
            (folder / "clips.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return target


def _row(clip: ClipFiles) -> dict[str, str]:
    if clip.task == "ms3":
        return {"video_id": clip.name, "split": clip.split}
    return {"name": clip.name, "start": "0", "category": clip.category, "split": clip.split}


def _write_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _write_clip(clip: ClipFiles, scene: Scene, *, masks: int, composed: bool) -> None:
    for path in (clip.frame(1), clip.mask(1), clip.wav, clip.log_mel):
        path.parent.mkdir(parents=True, exist_ok=True)
    for k, picture in enumerate(scene.pictures, start=1):
        Image.fromarray(picture).save(clip.frame(k))
    for k, mask in enumerate(scene.masks[:masks], start=1):
        # As released: S4 has 1-bit masks, MS3 palette ones.
        image = Image.fromarray(mask) if clip.task == "s4" else _palette(mask.astype(np.uint8))
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
    image.putpalette([0, 0, 0, 255, 255, 255, 230, 60, 60, 60, 200, 60, 60, 90, 230])
    return image
