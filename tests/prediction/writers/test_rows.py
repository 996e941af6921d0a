"""Rows of masks, read back by pyarrow and pycocotools."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from flash_clip import HEIGHT, WIDTH
from pycocotools import mask as coco_mask

from ecmvae.errors import UserError
from ecmvae.prediction import predictor
from ecmvae.prediction.command import predict
from ecmvae.prediction.result import VideoResult
from ecmvae.prediction.saving import write_outputs
from ecmvae.prediction.writers import rows as rows_module


def rows_of(path: Path) -> list[dict[str, object]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    return pyarrow.parquet.read_table(path).to_pylist()


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_rows_of_masks_as_pycocotools_sees_them(
    tmp_path: Path, result: VideoResult, suffix: str
) -> None:
    path = result.save(tmp_path / f"a{suffix}")
    rows = rows_of(path)
    assert [row["frame"] for row in rows] == np.flatnonzero(result.masks.any(axis=(1, 2))).tolist()
    for row in rows:
        mask = result.masks[row["frame"]]
        encoded = {"size": [row["height"], row["width"]], "counts": row["counts"]}
        assert np.array_equal(coco_mask.decode(encoded), mask)
        assert row["area"] == coco_mask.area(encoded) == mask.sum()
        assert row["bbox"] == coco_mask.toBbox(encoded).tolist()
        assert row["time"] == pytest.approx(result.timestamps[row["frame"]], abs=1e-6)
        assert row["score"] == pytest.approx(
            float(result.frame(row["frame"]).probability[mask].mean()), abs=1e-4
        )
        assert (row["category_id"], row["category"], row["source"]) == (
            1,
            "sounding object",
            str(result.path),
        )
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_rows_of_classes_are_the_same_in_both_formats(
    tmp_path: Path, video: Path, result: VideoResult
) -> None:
    classes = np.zeros((8, 48, 64), np.uint8)
    classes[:, :24], classes[:, 24:] = 1, 2
    known = replace(result, key_classes=classes, class_names=("silence", "dog", "cat\udce9"))
    targets = {"jsonl": tmp_path / "a.jsonl", "parquet": tmp_path / "a.parquet"}
    write_outputs([known], video, targets)
    lines, table = map(rows_of, targets.values())
    assert {(row["category_id"], row["category"]) for row in lines} == {
        (1, "dog"),
        (2, "cat\\udce9"),
    }
    assert [{**row, "score": pytest.approx(row["score"])} for row in lines] == table
    one = next(row for row in lines if row["category_id"] == 2)
    decoded = coco_mask.decode({"size": [HEIGHT, WIDTH], "counts": one["counts"]})
    assert np.array_equal(decoded, known.frame(one["frame"]).classes == 2)


def test_a_video_without_a_mask_has_a_table_without_rows(
    tmp_path: Path, result: VideoResult
) -> None:
    silent = result.with_threshold(1.0)
    assert rows_of(silent.save(tmp_path / "a.jsonl")) == []
    table = pyarrow.parquet.read_table(silent.save(tmp_path / "a.parquet"))
    assert (table.num_rows, table.schema.field("bbox").type) == (0, pyarrow.list_(pyarrow.int32()))


def test_a_long_video_is_written_in_groups(
    tmp_path: Path, result: VideoResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "_GROUP", 10)
    path = result.save(tmp_path / "a.parquet")
    file = pyarrow.parquet.ParquetFile(path)
    assert [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)] == [10, 10, 3]
    assert [row["frame"] for row in rows_of(path)] == list(range(25, 48))


def test_parquet_without_pyarrow_names_the_extra(
    tmp_path: Path, result: VideoResult, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "find_spec", lambda name: None)
    monkeypatch.setattr(predictor, "open_engine", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(
        UserError, match=r"Parquet needs pyarrow: pip install 'ecmvae\[parquet\]', or use --jsonl"
    ):
        result.save(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"Parquet needs pyarrow"):
        predict([str(video)], out=tmp_path / "out", parquet=True)
    assert list(tmp_path.iterdir()) == []
