"""A run over many files with a manifest: nothing is done twice, bad files are rows, shards share what they know."""

import json
import logging
from collections import Counter
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from flash_clip import SAMPLE_RATE, beep, flash_frames
from onnx_listener import write_listener

from ecmvae.cli import main
from ecmvae.data.video import write_video
from ecmvae.errors import UserError
from ecmvae.prediction import command as module
from ecmvae.prediction import file_work
from ecmvae.prediction.command import predict
from ecmvae.prediction.options import PredictorOptions, WriterOptions
from ecmvae.prediction.run import settings_and_weights


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_listener(tmp_path_factory.mktemp("model") / "m.onnx", level=0.5)


@pytest.fixture
def corpus(tmp_path: Path, model: Path) -> SimpleNamespace:
    """Four clips and one that is not, and a function that predicts them."""
    folder, out = tmp_path / "clips", tmp_path / "out"
    folder.mkdir()
    write_video(
        folder / "0.mp4",
        flash_frames(64, 48, count=12, flash=0),
        12,
        beep(seconds=1.0, start=0.1),
        SAMPLE_RATE,
    )
    for number in range(1, 4):
        (folder / f"{number}.mp4").write_bytes((folder / "0.mp4").read_bytes())
    (folder / "bad.mp4").write_text("no video")
    manifest = out / "manifest.jsonl"

    def run(source: Path = folder, **options: object) -> int:
        given = {
            "out": out,
            "checkpoint": str(model),
            "overlay": False,
            "jsonl": True,
            "manifest": manifest,
            **options,
        }
        return predict([str(source)], **given)

    return SimpleNamespace(run=run, folder=folder, out=out, manifest=manifest, model=model)


def rows(path: Path) -> dict[str, dict[str, object]]:
    """The last row of each file."""
    return {Path(row["source"]).name: row for row in map(json.loads, path.read_text().splitlines())}


def times(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in out.glob("*.masks.jsonl")}


def statuses(path: Path) -> dict[str, str]:
    return {name: str(row["status"]) for name, row in rows(path).items()}


def test_a_row_holds_the_figures_of_its_file(corpus: SimpleNamespace) -> None:
    assert corpus.run() == 2
    found = rows(corpus.manifest)
    assert {name: row["status"] for name, row in found.items()} == {
        **{f"{number}.mp4": "done" for number in range(4)}, "bad.mp4": "failed",
    }  # fmt: skip
    row = found["2.mp4"]
    masks = list(map(json.loads, (corpus.out / "2.masks.jsonl").read_text().splitlines()))
    assert row["outputs"] == ["2.masks.jsonl"]
    assert (row["frames"], row["seconds"]) == (12, 1.0)
    assert row["masked_frames"] == pytest.approx(len(masks) / 12, abs=1e-4)
    assert row["area"] == pytest.approx(
        sum(mask["area"] for mask in masks) / (12 * 64 * 48), abs=1e-4
    )
    assert 0 < row["took"] < 60
    assert {mask["source"] for mask in masks} == {row["source"]}
    assert row["weights"] == sha256(corpus.model.read_bytes()).hexdigest()
    assert row["settings"]["threshold"] == 0.5
    bad = found["bad.mp4"]
    assert "bad.mp4 is not a video that can be read" in bad["error"]
    assert "\n" not in bad["error"]
    assert (bad["outputs"], bad["frames"]) == ([], None)


def test_nothing_is_done_twice_and_bad_files_are_tried_again_when_asked(
    corpus: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.run()
    before, content = times(corpus.out), corpus.manifest.read_bytes()
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(file_work, "OpenVideo", lambda *_: pytest.fail("looked at again"))
        assert corpus.run() == 2  # one of them has failed
    assert corpus.manifest.read_bytes() == content
    assert capsys.readouterr().out.splitlines() == [
        "4 of 5 files were done before",
        "1 of 5 files failed before: --retry_failed tries them again",
    ]
    assert corpus.run(retry_failed=True) == 2
    assert len(corpus.manifest.read_text().splitlines()) == 6
    # another file: tried unasked
    (corpus.folder / "bad.mp4").write_bytes((corpus.folder / "0.mp4").read_bytes())
    assert corpus.run() == 0
    assert statuses(corpus.manifest)["bad.mp4"] == "done"
    assert before.items() <= times(corpus.out).items()


def test_what_is_missing_or_changed_is_done_again(corpus: SimpleNamespace) -> None:
    corpus.run()
    before = times(corpus.out)
    (corpus.out / "1.masks.jsonl").unlink()
    frames = flash_frames(64, 48, count=6, flash=0)
    write_video(corpus.folder / "2.mp4", frames, 12, beep(seconds=0.5, start=0.1), SAMPLE_RATE)
    corpus.run()
    after = times(corpus.out)
    assert {name for name in after if after[name] != before[name]} == {
        "1.masks.jsonl",
        "2.masks.jsonl",
    }
    assert rows(corpus.manifest)["2.mp4"]["frames"] == 6
    corpus.run(parquet=True)  # a further format: only that is made
    assert times(corpus.out) == after
    assert rows(corpus.manifest)["3.mp4"]["outputs"] == ["3.masks.jsonl", "3.masks.parquet"]


def test_an_unfinished_line_is_repaired_and_its_file_done_again(
    corpus: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    corpus.run()
    before = times(corpus.out)
    lines = corpus.manifest.read_bytes().splitlines(keepends=True)
    corpus.manifest.write_bytes(b"".join(lines[:3]) + lines[3][:200])
    caplog.clear()
    corpus.run()
    assert [message for message in caplog.messages if "not finished" in message] == [
        f"{corpus.manifest}: its last line was not finished when its process ended: dropped, and its file is done again"
    ]
    after = times(corpus.out)
    assert {name for name in after if after[name] != before[name]} == {"3.masks.jsonl"}
    assert statuses(corpus.manifest)["3.mp4"] == "done"


def test_outputs_without_a_row_are_left_alone(corpus: SimpleNamespace) -> None:
    corpus.run(manifest=None)
    before = times(corpus.out)
    corpus.run()
    assert statuses(corpus.manifest) == {
        **{f"{number}.mp4": "skipped" for number in range(4)},
        "bad.mp4": "failed",
    }
    assert times(corpus.out) == before


def test_other_settings_or_weights_are_refused(corpus: SimpleNamespace, tmp_path: Path) -> None:
    corpus.run()
    before = times(corpus.out)
    with pytest.raises(
        UserError,
        match=r"was done with threshold 0.5, not 0.4: use the same, write to another folder",
    ):
        corpus.run(threshold=0.4)
    with pytest.raises(UserError, match=r"was done with weights '.*, not '.*"):
        corpus.run(checkpoint=str(write_listener(tmp_path / "other.onnx", level=0.6)))
    assert times(corpus.out) == before
    assert corpus.run(batch=2, engine="onnx") == 2  # these do not show in the masks
    assert times(corpus.out) == before
    assert corpus.run(threshold=0.4, force=True) == 2
    assert corpus.run(threshold=0.4) == 2
    assert not before.items() & times(corpus.out).items()


def test_shards_do_every_file_once(
    corpus: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (2, 3, 1):
        corpus.run(shard=f"{number}/3")
    files = sorted(corpus.out.glob("manifest*"))
    assert [each.name for each in files] == [
        f"manifest.{number}-of-3.jsonl" for number in (1, 2, 3)
    ]
    sources = [list(statuses(each)) for each in files]
    assert sources == [["0.mp4", "3.mp4"], ["1.mp4", "bad.mp4"], ["2.mp4"]]
    before = times(corpus.out)
    assert corpus.run(shard="2/2") == 0  # another division of the same work: all is known
    assert corpus.run(shard="1/2") == 2  # bad.mp4 is in it
    assert times(corpus.out) == before
    assert rows(corpus.out / "manifest.1-of-2.jsonl") == {}
    capsys.readouterr()
    assert corpus.run(shard="9/9") == 0
    assert capsys.readouterr().out == "shard 9/9: 0 of 5 files\n"


def test_a_shard_of_one_file_can_be_run_again(corpus: SimpleNamespace) -> None:
    assert corpus.run(shard="1/5", manifest=None) == 0
    assert corpus.run(shard="1/5", manifest=None) == 0
    assert list(times(corpus.out)) == ["0.masks.jsonl"]


def test_shards_of_folders_and_lists_are_alike(corpus: SimpleNamespace, tmp_path: Path) -> None:
    """Sorted by path: the order in which the files are named does not matter."""
    names = ["3.mp4", "bad.mp4", "0.mp4", "2.mp4", "1.mp4"]
    (tmp_path / "list.txt").write_text("\n".join(str(corpus.folder / name) for name in names))
    corpus.run(tmp_path / "list.txt", shard="1/3")
    assert list(statuses(corpus.out / "manifest.1-of-3.jsonl")) == ["0.mp4", "3.mp4"]


def test_a_list_with_missing_and_repeated_entries(
    corpus: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "list.txt").write_text(
        "clips/1.mp4\nclips/gone.mp4\n./clips/1.mp4\nclips/[2].mp4\nclips/empty\n"
    )
    (corpus.folder / "empty").mkdir()
    with caplog.at_level(logging.WARNING, "ecmvae"):
        assert corpus.run(tmp_path / "list.txt") == 2
    assert statuses(corpus.manifest) == {
        "1.mp4": "done",
        "gone.mp4": "failed",
        "2.mp4": "done",
        "empty": "failed",
    }
    assert Counter(record.levelname for record in caplog.records) == {"WARNING": 1, "ERROR": 3}
    assert "1 of 5 sources name a video again: it is done once" in caplog.text
    assert all("\n" not in message for message in caplog.messages)


def test_the_default_models_weights_are_known() -> None:
    same = settings_and_weights(None, PredictorOptions(batch=3), WriterOptions())
    packaged = Path(module.__file__).parents[1] / "weights" / "collage-small" / "model.safetensors"
    assert same["weights"] == sha256(packaged.read_bytes()).hexdigest()
    assert "batch" not in same["settings"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shard", "0/4"], "--shard is i/n with i from 1 to n"),
        (["--shard", "5/4"], "--shard is i/n with i from 1 to n"),
        (["--shard", "x"], "--shard is i/n with i from 1 to n"),
        (["--workers", "2"], "--workers needs --executor ray"),
        (["--gpus-per-worker", "0.5"], "--gpus_per_worker needs --executor ray"),
        (["--executor", "ray", "--workers", "0"], "--workers must be from 1 to"),
        (["--executor", "dask"], "'local', 'ray', got 'dask'"),
        (["--retry-failed"], "--retry_failed needs --manifest"),
        (["--executor", "ray"], "--executor ray needs Ray: pip install 'ecmvae[ray]'"),
        (["--manifest", "."], "cannot write the manifest"),
        (["--out", "all.mp4"], "all.mp4 is the name of one file, but the outputs of this run go"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    corpus: SimpleNamespace, words: list[str], message: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    given = [
        "predict",
        str(corpus.folder),
        "--out",
        str(corpus.out),
        "--checkpoint",
        str(corpus.model),
        *words,
    ]
    assert main(given) == 2
    error = capsys.readouterr().err
    assert error.startswith("ecmvae: error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not corpus.out.exists()
