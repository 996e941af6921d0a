"""Runs at toy size: what a run leaves, and that stopping and resuming changes nothing."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from copy import deepcopy
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from PIL import Image

import ecmvae
from ecmvae.cli import main
from ecmvae.config import DataConfig, load_config
from ecmvae.data.loading import require_root
from ecmvae.data.miniature import ShapeScenes, write_miniature
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.errors import UserError
from ecmvae.models.checkpoint import load_model
from ecmvae.training.datamodule import ClipDataModule
from ecmvae.training.module import SegmentationModule
from ecmvae.training.monitor import draw_curves, read_history
from ecmvae.training.resuming import check_checkpoint, remove_run_leftovers
from ecmvae.training.run import _build, build_trainer, new_folder, train, watch
from ecmvae.visual.backbone import VisualBackbone
from ecmvae.visual.normalisation import IMAGENET, Normalisation


def state(run: Path) -> dict[str, torch.Tensor]:
    """Every number of model, loss heads and optimiser after a run."""
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    moments = checkpoint["optimizer_states"][0]["state"]
    return checkpoint["state_dict"] | {
        f"{index}.{name}": value for index, each in moments.items() for name, value in each.items()
    }


def assert_same_run(one: Path, other: Path) -> None:
    first, second = state(one), state(other)
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert different == []
    assert read_history(one / "history.jsonl") == read_history(other / "history.jsonl")


class Interrupting(SyntheticAVS):
    """Sends this process a SIGTERM when a certain clip of epoch 1 is composed."""

    calls = 0

    def __getitem__(self, index: int):
        self.calls += self.epoch == 1
        if self.epoch == 1 and self.calls == self.at:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().__getitem__(index)


def test_a_run_leaves_what_it_promises(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(train__log_images=1)
    monkeypatch.setattr("ecmvae.training.run.draw_curves", draw_curves)
    run = train(config)
    assert run.name == "debug-001"
    assert load_config(run / "config.yaml") == config
    assert {"best", "checkpoints", "config.yaml", "history.jsonl", "curves.png"} <= {
        path.name for path in run.iterdir()
    }
    rows = read_history(run / "history.jsonl")
    # the loss at the first step and each epoch's last; scores
    assert [row["step"] for row in rows] == [1, 3, 3, 6, 6]
    assert {"train/structure", "train/kl_visual", "train/total"} <= rows[0].keys()
    best = max(row["val/miou"] for row in rows if "val/miou" in row)
    metadata = json.loads((run / "best" / "metadata.json").read_text())
    assert metadata["val/miou"] == best
    assert (metadata["ecmvae"], metadata["torch"]) == (ecmvae.__version__, torch.__version__)
    assert load_model(run).config == config


def test_best_is_the_model_that_scored_best(tiny) -> None:
    from ecmvae.evaluation.evaluator import EvaluateSettings, evaluate
    from ecmvae.training.datamodule import build_datasets

    config = tiny(data__val_length=6)
    run = train(config)
    rows = [row for row in read_history(run / "history.jsonl") if "val/miou" in row]
    report = evaluate(
        load_model(run),
        build_datasets(config)[1],
        EvaluateSettings(sounds=("real",), progress=False),
    )
    # the cache holds float16
    assert report.miou == pytest.approx(max(row["val/miou"] for row in rows), abs=2e-3)


def test_a_stopped_run_resumes_to_the_bit(tiny) -> None:
    """Stopped inside an epoch, and in its last batch."""
    config = tiny(train__epochs=3, train__batch_size=2)

    def clips(kind: type[SyntheticAVS]) -> SyntheticAVS:
        return kind("both", length=4, size=32, seed=7)

    val = SyntheticAVS("both", length=2, size=32, seed=8, remix=False)
    whole = train(config, train_clips=clips(SyntheticAVS), val_clips=val)
    for clip, name in ((2, "debug-002"), (4, "debug-003")):
        interrupted = clips(Interrupting)
        interrupted.at = clip
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as left:
            train(config, train_clips=interrupted, val_clips=val)
        assert left.value.code == 143
        assert signal.getsignal(signal.SIGTERM) == before
        stopped = whole.with_name(name)
        assert torch.load(stopped / "checkpoints" / "last.ckpt", weights_only=True)[
            "global_step"
        ] == 2 + -(-clip // 2)
        resumed = train(config, resume=stopped, train_clips=clips(SyntheticAVS), val_clips=val)
        assert resumed == stopped
        assert_same_run(whole, resumed)


def test_a_resumed_run_keeps_its_normalisation(tiny) -> None:
    """EfficientNet-Lite's own is not ImageNet's; runs from before normalisations were saved used ImageNet's."""
    config = tiny(train__epochs=1, model__visual__name="efficientnet_lite0")
    file = train(config) / "checkpoints" / "last.ckpt"
    clips = SyntheticAVS("both", length=4, size=32)
    saved = torch.load(file, weights_only=True)
    own = VisualBackbone(config.model.visual.name).normalisation
    assert own != IMAGENET
    other = Normalisation(mean=(0.25, 0.5, 0.75), std=(0.5, 0.5, 0.25))
    for kept, wanted in ((own.to_dict(), own), (other.to_dict(), other), (None, IMAGENET)):
        torch.save(
            {
                name: value
                for name, value in {**saved, "normalisation": kept}.items()
                if value is not None
            },
            file,
        )
        data, module, _ = _build(config, clips, clips, [file])
        assert module.model.normalisation == data.val_clips.preprocessor.normalisation == wanted


class Unstarted(SyntheticAVS):
    """Ctrl-C while the first clip is composed, which is before training: its features are cached."""

    def __getitem__(self, index: int):
        raise KeyboardInterrupt


def test_ctrl_c_before_training_is_ctrl_c(tiny) -> None:
    """Lightning makes exit code 1 of it; the command line's is 130."""
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(
                tiny(),
                train_clips=Unstarted("both", length=4, size=32),
                val_clips=SyntheticAVS("both", length=2, size=32),
            )
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning ignores further ones


def test_a_killed_process_exits_143_and_resumes_to_the_bit(
    tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line in a process of its own: a copy of this one, which has imported everything already.

    It reads its clips slowly, so that it is still training when it is stopped.
    """
    config = tiny(train__epochs=3, data__length=8, data__val_length=2, data__workers=1)
    quick = SyntheticAVS.__getitem__
    monkeypatch.setattr(
        SyntheticAVS,
        "__getitem__",
        lambda clips, index: time.sleep(0.15 * (clips.epoch > 0)) or quick(clips, index),
    )
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    words = ["train", "--config", str(tmp_path / "run.yaml")]
    process = get_context("fork").Process(target=lambda: sys.exit(main(words)))
    process.start()
    monkeypatch.setattr(SyntheticAVS, "__getitem__", quick)
    stopped = Path(config.train.out) / "debug-001"
    deadline = time.monotonic() + 200
    while not (stopped / "checkpoints" / "last.ckpt").exists() and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with pytest.raises(UserError, match=f"debug-001 is in use by process {process.pid} on "):
        train(config, resume=stopped)
    process.terminate()
    process.join(60)
    assert process.exitcode == 143
    checkpoint = torch.load(stopped / "checkpoints" / "last.ckpt", weights_only=True)
    assert 2 <= checkpoint["global_step"] < 6, "the test must stop the run before its end"
    train(load_config(stopped / "config.yaml"), resume=stopped)
    assert_same_run(train(config), stopped)


def test_run_folders_are_numbered_and_never_reused(tmp_path: Path) -> None:
    assert [new_folder(tmp_path, "a").name for _ in range(3)] == ["a-001", "a-002", "a-003"]
    assert new_folder(tmp_path, "b").name == "b-001"


def test_a_loss_that_explodes_names_the_term(tiny) -> None:
    with pytest.raises(
        FloatingPointError, match=r"no longer a finite number at step \d+ \(first in: \w+; clips: "
    ):
        train(tiny(train__learning_rate=1e30, train__schedule="constant"))


def test_a_time_budget_ends_the_run_with_a_model(tiny) -> None:
    run = train(tiny(train__epochs=10_000, train__max_minutes=0.02))
    rows = read_history(run / "history.jsonl")
    assert rows[-1]["step"] < 30_000
    assert (run / "best" / "model.safetensors").is_file()


def test_patience_counts_epochs_not_validations(tiny) -> None:
    config = tiny(train__patience=5, train__check_val_every_n_epochs=2)
    trainer = build_trainer(config)
    data = ClipDataModule(config, ClipPreprocessor(None, IMAGENET))
    watch(trainer, config, Path(config.train.out), data, started=0.0)
    (stop,) = (callback for callback in trainer.callbacks if isinstance(callback, EarlyStopping))
    assert (stop.monitor, stop.mode, stop.patience) == ("val/miou", "max", 3)


def test_a_run_starts_from_a_trained_model(tiny) -> None:
    small = {"train__epochs": 1, "data__length": 4, "data__val_length": 2}
    first = train(tiny(**small))
    trained = dict(load_model(first).named_parameters())
    still = {"train__learning_rate": 1e-12, "train__schedule": "constant", "train__seed": 5}
    second = train(tiny(train__initial_checkpoint=str(first), **small, **still))
    for name, value in load_model(second).named_parameters():
        assert torch.allclose(value, trained[name], atol=1e-9), name


def test_nothing_to_resume(tiny, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to resume"):
        train(tiny(), resume=tmp_path)


class Code:
    """A pickle of it asks to make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.folder,)


def test_checkpoints_that_cannot_be_resumed(tiny, tmp_path: Path) -> None:
    run = train(
        tiny(train__epochs=1, train__cache_features=False, data__length=4, data__val_length=2)
    )
    checkpoint = run / "checkpoints" / "last.ckpt"
    whole, files = checkpoint.read_bytes(), sorted(run.rglob("*"))
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    torch.save({"state_dict": Code(tmp_path / "ran")}, tmp_path / "code.pth")
    pickled = pickle.dumps(Code(tmp_path / "ran"))
    others = (
        whole[: len(whole) // 2],
        *((tmp_path / name).read_bytes() for name in ("other.pth", "code.pth")),
        pickled,
    )
    for damaged in others:
        checkpoint.write_bytes(damaged)
        with pytest.raises(UserError, match="not a checkpoint of ecmvae train, or damaged"):
            train(load_config(run / "config.yaml"), resume=run)
    assert not (tmp_path / "ran").exists()
    checkpoint.write_bytes(whole)
    with pytest.raises(UserError, match=r"of another model, first in model\."):
        train(load_config(run / "config.yaml", {"model.channels": 16}), resume=run)
    assert load_config(run / "config.yaml").model.channels == 8
    assert sorted(run.rglob("*")) == files
    check_crafted(run, tmp_path)


def check_crafted(run: Path, tmp_path: Path) -> None:
    """Checkpoints that load, and of which one value is not what training has left there."""
    config, checkpoint = (
        load_config(run / "config.yaml", {"train.epochs": 2}),
        run / "checkpoints" / "last.ckpt",
    )
    module = SegmentationModule(config)
    whole = torch.load(checkpoint, weights_only=True)
    check_checkpoint(checkpoint, module)
    python, torchs = (whole["generators"][0][name] for name in ("python", "torch"))
    for place, value in (
        (("generators",), None),
        (("generators",), []),
        (("generators", 0, "torch"), torchs[:-1]),
        (("generators", 0, "python"), python[:2]),
        (("generators", 0, "cuda"), "cuda"),
        (("global_step",), 10**18),
        (("global_step",), 1.0),
        (("epoch",), -5),
        (("loops",), None),
        (("loops", "fit_loop", "epoch_progress", "current", "completed"), -5),
        (("optimizer_states",), []),
        (("optimizer_states", 0, "param_groups", 0, "lr"), "fast"),
        (("optimizer_states", 0, "param_groups", 0, "params"), [0]),
        (("optimizer_states", 0, "state", 0, "exp_avg"), torch.zeros(2)),
        (("normalisation",), "ImageNet"),
    ):
        torch.save(crafted(whole, place, value), tmp_path / "crafted.ckpt")
        with pytest.raises(
            UserError, match=r"crafted.ckpt is not a checkpoint of ecmvae train, or damaged"
        ):
            check_checkpoint(tmp_path / "crafted.ckpt", module)
    for place, value in (
        (("pytorch-lightning_version",), "of old"),
        (("callbacks", "BestModel", "score"), "high"),
    ):
        torch.save(crafted(whole, place, value), checkpoint)
        with pytest.raises(
            UserError, match=r"last.ckpt cannot be resumed \((InvalidVersion|ValueError): "
        ):
            train(config, resume=run)


def crafted(whole: dict, place: tuple, value: object) -> dict:
    """A copy with another value at that place."""
    copy = inner = deepcopy(whole)
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return copy


WRITTEN = ("config.yaml", "checkpoints/last.ckpt", "best", "history.jsonl", "curves.png")


def die_writing(*paths: Path) -> None:
    """Let a process be killed while it writes these files."""
    script = (
        "import os, sys\nfrom contextlib import ExitStack\nfrom pathlib import Path\n"
        "from ecmvae.files import replacing\nstack = ExitStack()\n"
        "for name in sys.argv[1:]:\n    stack.enter_context(replacing(Path(name))).write_text('half')\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script, *paths], check=False).returncode == -9


def test_a_new_run_sweeps_those_that_were_killed_before_there_was_anything_to_resume(tiny) -> None:
    config = tiny(train__epochs=1, data__length=4)
    killed, another = (Path(config.train.out) / name for name in ("debug-001", "other-001"))
    die_writing(*(killed / name for name in (*WRITTEN, "differs.md")), another / "config.yaml")
    run = train(config)
    assert run.name == "debug-002"
    assert [path for path in killed.rglob("*") if path.is_file()] == []
    assert len([*another.iterdir()]) == 1


def test_leftovers_of_a_killed_training_are_swept_when_it_resumes(tmp_path: Path) -> None:
    """A process is killed while it writes each of a run's files."""
    die_writing(*(tmp_path / name for name in WRITTEN))
    (tmp_path / "checkpoints" / ".notes").touch()
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == 6
    remove_run_leftovers(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [
        tmp_path / "checkpoints" / ".notes"
    ]


@pytest.mark.parametrize("fault", ["mask of another size", "pickle with code"])
def test_a_bad_clip_leaves_no_run_behind(tiny, tmp_path: Path, fault: str) -> None:
    root = tmp_path / "mini"
    write_miniature(root, "s4", {"train": 4, "val": 1}, source=ShapeScenes("s4", 64))
    if fault == "pickle with code":
        for path in root.rglob("*.pkl"):
            path.write_bytes(pickle.dumps(Code(tmp_path / "ran")))
    else:
        for path in root.rglob("gt_masks/train/*/*/*_1.png"):
            Image.new("L", (30, 40)).save(path)
    data = {"name": "s4", "root": str(root), "hop_seconds": 0.96}
    config = tiny(
        train__cache_features=False, **{f"data__{key}": value for key, value in data.items()}
    )
    with pytest.raises(UserError, match="refused" if fault == "pickle with code" else "30 x 40"):
        train(config)
    assert not list(Path(config.train.out).iterdir())
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("root", [None, "nowhere"])
def test_data_that_are_missing_are_said_before_weights_that_are(root: str | None) -> None:
    config = load_config(Path(__file__).parents[2] / "configs" / "s4_pvt.yaml", {"data.root": root})
    with pytest.raises(UserError, match=r"nowhere: no such folder|say where its folder lies"):
        train(config)


@pytest.mark.parametrize("name", ["collage", "synthetic", "my_package.data:load"])
def test_data_that_lie_in_no_folder_need_none(name: str) -> None:
    require_root(DataConfig(name=name))


def test_a_mistake_leaves_no_run_behind(tiny) -> None:
    config = tiny(model__visual__weights="nowhere.pth")
    with pytest.raises(UserError):
        train(config)
    assert not Path(config.train.out).exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_that_is_not_there_is_refused_before_anything_is_written(
    tiny, tmp_path: Path
) -> None:
    with pytest.raises(
        UserError, match=r"train.device=cuda, but torch finds no such device here: use auto or cpu"
    ):
        train(tiny(train__device="cuda"))
    assert not (tmp_path / "runs").exists()
