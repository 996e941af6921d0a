"""Small data sets in the exact layouts of the records, for tests and for trying out every command.

Pictures, masks and sounds are those of `ecmvae.data.synthetic`: moving shapes with timbres.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from ecmvae.audio.io import SAMPLE_RATE, write_wave
from ecmvae.data.layout import write_table
from ecmvae.data.miniature import Scene, ShapeScenes
from ecmvae.data.rle import compress, run_lengths
from ecmvae.data.sets.records import RECORDS
from ecmvae.data.sets.refavs import FRAMES
from ecmvae.data.sets.rows import NEGATIVE
from ecmvae.data.sets.vpo import COCO_IDS
from ecmvae.errors import UserError
from ecmvae.files import replacing

SIDE = 64
"""Side of the pictures in pixels."""


def write_set(root: str | Path, name: str, counts: Mapping[str, int] | None = None) -> Path:
    """Write a miniature of the data set `name`; several sets of one family may share a root.

    Args:
        root: Folder to hold it.
        name: Of a record with rows, such as vpo_ss.
        counts: Clips (of IS3: pictures, each heard twice) of each split; None = 2 of each.

    Returns:
        The root.

    Raises:
        UserError: If the name is another one, or a table of this data set lies there.
    """
    if name not in WRITERS:
        raise UserError(f"there is no miniature of {name!r}: choose from {', '.join(WRITERS)}")
    record, root = RECORDS[name], Path(root)
    if record.lies_in(root):
        raise UserError(f"{root}: holds {record.title} already; choose another folder")
    WRITERS[name](root, name, counts or dict.fromkeys(record.splits, 2))
    return root


def _vpo(root: Path, name: str, counts: Mapping[str, int]) -> None:
    several, table = name != "vpo_ss", Path(RECORDS[name].tables[0])
    lines = []
    for number, (split, scene) in enumerate(_scenes(counts, several)):
        picture, home = f"{number + 1:012}", root / table.parent
        single = name == "vpo_msmi" and number % 2 == 1
        if single:
            home = root / "VPO-MS"  # where pictures with one instance a class are
        classes = ("dog", "cat", "cell phone") if several else (("dog", "cell phone")[number % 2],)
        masks = [scene.objects[0] == k for k in range(1, len(scene.classes) + 1)]
        values = np.zeros(scene.objects.shape[1:], np.uint8)
        for mask, category in zip(masks, classes, strict=False):
            values[mask] = COCO_IDS[category]
        values[0, 0] = 255
        for place, (category, _) in enumerate(zip(classes, masks, strict=False)):
            annotation, sound = 100 * number + place, f"{name}{number:04}_{place:06}"
            folder, mask_name = (
                ("", picture) if several else (category, f"{picture}_{annotation:012}")
            )
            _picture(home / "data" / folder / f"{picture}.jpg", scene.pictures[0])
            _picture(home / "mask" / folder / f"{mask_name}.png", values)
            _sound(root / "VGGSound" / "audios" / f"{sound}.wav", scene, seconds=10)
            line = {
                "img_Id": number + 1,
                "ann_Ids": annotation,
                "cateName": category,
                "cateId": COCO_IDS[category],
            }
            more = {"multi_instance": int(not single)} if name == "vpo_msmi" else {}
            lines.append({**line, "vgg_file": sound, "split": split, **more})
    write_table(root / table, [{key: str(value) for key, value in line.items()} for line in lines])


def _is3(root: Path, name: str, counts: Mapping[str, int]) -> None:
    lines = []
    for number, (_, scene) in enumerate(_scenes(counts, several=True)):
        shapes = ("cat", "banjo")
        for place, heard in enumerate(shapes):
            clip = f"{shapes[0]}_{shapes[1]}_{number}_{heard}"
            mask = scene.objects[0] == place + 1
            _picture(root / "images" / f"{clip}.jpg", scene.pictures[0])
            _picture(root / "gt_segmentation" / f"{clip}.png", mask)
            _sound(root / "audio_wav" / f"{clip}.wav", scene, seconds=10)
            where = {
                "image": f"/home/somebody/visual_frames/{clip}.jpg",
                "audio": f"/home/somebody/{clip}.wav",
            }
            lines.append({**where, "gt_box": [float(224 * edge) for edge in _box(mask)]})
    _json(root / "IS3_annotation.json", lines)


def _vggss(root: Path, name: str, counts: Mapping[str, int]) -> None:
    frames, audio = ("frames", "audio") if name == "vggss" else ("extend_frames", "extend_audio")
    lines, ids = [], [f"mini{number:07}_{30 * number:06}" for number in range(sum(counts.values()))]
    for clip, (_, scene) in zip(ids, _scenes(counts), strict=True):
        left, top, right, bottom = _box(scene.masks[0])
        lines.append(
            {"file": clip, "class": "dog barking", "bbox": [[left, top, right, bottom + 1.0]]}
        )
        _picture(root / frames / f"{clip}.jpg", scene.pictures[0])
        _sound(root / audio / f"{clip}.wav", scene, seconds=10)
    _json(root / "vggss.json", lines)
    with replacing(root / "vggss_test.csv") as part:
        part.write_text("\n".join(ids))  # neither a header nor a last line feed, as released
    if name == "vggss_extended":
        pairs = zip(ids, [*ids[1:], ids[0]], strict=True)
        table = [{"video": video, "audio": heard, "label": NEGATIVE} for video, heard in pairs]
        write_table(root / "vggss_test_plus_silent.csv", table)


def _aviseg(root: Path, name: str, counts: Mapping[str, int]) -> None:
    for split, count in counts.items():
        videos: list[dict[str, object]] = []
        tracks: list[dict[str, object]] = []
        for number, (_, scene) in enumerate(_scenes({split: count}, several=True, seed=len(split))):
            video = f"video{number:02}"
            files = [f"{video}/{k:05}.jpg" for k in range(len(scene.pictures))]
            for file, picture in zip(files, scene.pictures, strict=True):
                _picture(root / split / "JPEGImages" / file, picture)
            _sound(root / split / "WAVAudios" / f"{video}.wav", scene, seconds=len(files))
            videos.append(
                {
                    "id": number + 1,
                    "file_names": files,
                    "length": len(files),
                    "height": SIDE,
                    "width": SIDE,
                }
            )
            for k in range(len(scene.classes)):
                masks: list[object] = []
                for t, objects in enumerate(scene.objects):
                    runs = run_lengths(objects == k + 1)
                    text = {"size": [SIDE, SIDE], "counts": compress(runs) if k % 2 else runs}
                    masks.append(
                        text if scene.sounding[t, k] and (objects == k + 1).any() else None
                    )
                tracks.append(
                    {
                        "id": len(tracks) + 1,
                        "video_id": number + 1,
                        "category_id": 1,
                        "segmentations": masks,
                    }
                )
        _json(
            root / f"{split}.json",
            {"videos": videos, "annotations": tracks, "categories": [{"id": 1, "name": "person"}]},
        )


def _refavs(root: Path, name: str, counts: Mapping[str, int]) -> None:
    lines = []
    for number, (split, scene) in enumerate(_scenes(counts, several=True)):
        video = f"mini{number:07}_{number}_{number + 10}"
        for k in range(FRAMES):
            _picture(
                root / "media" / video / "frames" / f"{k}.jpg",
                scene.pictures[k % len(scene.pictures)],
            )
        _sound(root / "media" / video / "audio.wav", scene, seconds=FRAMES)
        for place in range(1, len(scene.classes) + 1):
            for k in range(FRAMES) if split != "test_n" else ():
                mask = scene.objects[k % len(scene.objects)] == place
                _picture(root / "gt_mask" / video / f"fid_{place}" / f"0000{k}.png", mask)
            line = {
                "vid": str(number),
                "uid": f"{video}_{place}_0",
                "split": split,
                "fid": str(place),
            }
            lines.append({**line, "exp": "the thing, that makes a sound / of its own"})
    write_table(root / "metadata.csv", lines)


WRITERS: dict[str, Callable[[Path, str, Mapping[str, int]], None]] = {
    **dict.fromkeys(("vpo_ss", "vpo_ms", "vpo_msmi"), _vpo),
    **dict.fromkeys(("is3", "is3_boxes"), _is3),
    **dict.fromkeys(("vggss", "vggss_extended"), _vggss),
    "aviseg": _aviseg,
    "refavs": _refavs,
}
"""What writes a miniature, by name of the record."""


def _scenes(
    counts: Mapping[str, int], several: bool = False, seed: int = 0
) -> list[tuple[str, Scene]]:
    """A scene a clip, with its split; with `several`, scenes of at least two objects."""
    source = ShapeScenes("ms3" if several else "s4", size=SIDE, seed=seed)
    splits = [split for split, count in counts.items() for _ in range(count)]
    scenes: list[Scene] = []
    number = 0
    while len(scenes) < len(splits):
        scene = source.scene(number)
        visible = all((scene.objects[0] == k).any() for k in range(1, len(scene.classes) + 1))
        if visible and len(scene.classes) >= 1 + several:
            scenes.append(scene)
        number += 1
    return list(zip(splits, scenes, strict=True))


def _box(mask: Bool[np.ndarray, "h w"]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what is marked, as fractions."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    edges = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    left, top, right, bottom = (float(edge / mask.shape[0]) for edge in edges)
    return left, top, right, bottom


def _picture(path: Path, pixels: UInt8[np.ndarray, "h w *c"] | Bool[np.ndarray, "h w"]) -> None:
    with replacing(path) as part:
        Image.fromarray(pixels).save(part)


def _sound(path: Path, scene: Scene, seconds: int) -> None:
    times = -(-seconds * SAMPLE_RATE // len(scene.waveform))
    write_wave(path, scene.waveform.repeat(times)[: seconds * SAMPLE_RATE])


def _json(path: Path, content: object) -> None:
    with replacing(path) as part:
        part.write_text(json.dumps(content))
