"""Masks as pictures and as COCO annotations, read back by Pillow and pycocotools."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ecmvae.prediction.result import VideoResult


def test_pictures_as_pillow_sees_them(tmp_path: Path, result: VideoResult) -> None:
    folder = result.save(tmp_path / "masks")
    assert [path.name for path in sorted(folder.iterdir())] == [
        f"{index:06d}.png" for index in range(48)
    ]
    masks = np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])
    assert set(np.unique(masks)) == {0, 255}
    assert np.array_equal(masks > 0, result.masks)


def test_coco_as_pycocotools_reads_it(tmp_path: Path, result: VideoResult) -> None:
    coco = COCO(result.save(tmp_path / "a.json"))
    images = coco.loadImgs(coco.getImgIds())
    assert [image["time"] for image in images] == pytest.approx(result.timestamps, abs=1e-5)
    assert len({image["file_name"] for image in images}) == 48
    assert images[3] | {"time": 0} == {
        "id": 3, "file_name": "flash/000003.jpg", "height": 90, "width": 120, "video_id": 1, "frame_id": 3, "time": 0
    }  # fmt: skip
    assert coco.dataset["videos"] == [
        {"id": 1, "name": "flash.mp4", "height": 90, "width": 120, "length": 48}
    ]
    for image, mask in zip(images, result.masks, strict=True):
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]], iscrowd=False))
        assert len(annotations) == mask.any()
        for annotation in annotations:
            assert np.array_equal(coco.annToMask(annotation), mask)
            rows, columns = np.nonzero(mask)
            assert annotation["area"] == mask.sum()
            assert annotation["bbox"] == [
                columns.min(),
                rows.min(),
                np.ptp(columns) + 1,
                np.ptp(rows) + 1,
            ]


def test_coco_scores_it_perfect_against_itself(tmp_path: Path, result: VideoResult) -> None:
    """An annotation that is marked as a crowd would match nothing."""
    coco = COCO(result.save(tmp_path / "a.json"))
    evaluation = COCOeval(coco, coco.loadRes(list(coco.anns.values())), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


def test_coco_of_a_model_with_classes(tmp_path: Path, result: VideoResult) -> None:
    classes = np.zeros((8, 48, 64), np.uint8)
    classes[:, :24], classes[:, 24:] = 1, 2
    known = replace(result, key_classes=classes, class_names=("silence", "dog", "cat"))
    coco = COCO(known.save(tmp_path / "a.json"))
    assert {each["name"] for each in coco.loadCats(coco.getCatIds())} == {"dog", "cat"}
    (cat,) = coco.loadAnns(coco.getAnnIds(imgIds=[40], catIds=[2]))
    assert np.array_equal(coco.annToMask(cat), known.frame(40).classes == 2)
