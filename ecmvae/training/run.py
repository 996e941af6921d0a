"""A training run, from a configuration to a folder with the best model in it."""

from __future__ import annotations

import logging
import math
import os
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from ecmvae.config import Config
from ecmvae.data.clips import ClipSource
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.errors import UserError
from ecmvae.files import replacing
from ecmvae.locks import locked
from ecmvae.training.callbacks import BestModel, CheckpointFile, Resumable
from ecmvae.training.datamodule import ClipDataModule, seed_everything
from ecmvae.training.leaks import check_folds
from ecmvae.training.module import LOG_EVERY_STEPS, SegmentationModule
from ecmvae.training.monitor import History, Previews, draw_curves
from ecmvae.training.progress import RunProgress
from ecmvae.training.resuming import CHECKPOINT, check_checkpoint, checkpoint_of, remove_run_leftovers, restoring
from ecmvae.training.schedule import Schedule

START_METHOD = "spawn"
"""How the processes of several devices start: a CUDA context does not survive a fork."""


def train(
    config: Config,
    resume: str | Path | None = None,
    *,
    train_clips: ClipSource | None = None,
    val_clips: ClipSource | None = None,
) -> Path:
    """Train ECMVAE.

    The run's folder holds ``config.yaml`` (every knob, as resolved), ``best/`` (the model folder of the epoch with
    the best validation mIoU), ``checkpoints/last.ckpt``, ``history.jsonl``, ``curves.png`` and TensorBoard's events.

    With several ``train.devices`` it is the same run, each batch shared by as many processes. They import the calling
    script again: guard its entry with ``if __name__ == "__main__"``.

    Args:
        config: The run's configuration.
        resume: The folder of a stopped run, to go on in. It ends as if it had never stopped, to the bit on a CPU.
        train_clips: Training clips, in place of those that ``config.data`` names.
        val_clips: Validation clips, likewise; give both or none. For several devices they must be picklable.

    Returns:
        The run's folder.

    Raises:
        UserError: For data, weights or a run that cannot be used, or one that another process trains.
        FloatingPointError: When the loss is no longer finite.
        SystemExit: With 143 after SIGTERM and 130 after Ctrl-C, once the checkpoint is saved.
    """
    started = time.monotonic()
    if (train_clips is None) != (val_clips is None):
        raise UserError("give both train_clips and val_clips, or neither")
    checkpoint = None if resume is None else checkpoint_of(Path(resume))
    _check_devices(config)
    check_folds(config)
    with ExitStack() as held:
        if resume is not None:
            held.enter_context(locked(Path(resume)))
            remove_run_leftovers(Path(resume))
        data, module = _build(config, train_clips, val_clips, checkpoint)
        # Only now, so that a mistake in data or weights leaves no empty run behind.
        folder = new_folder(config.train.out, config.train.name) if resume is None else Path(resume)
        if resume is None:
            held.enter_context(locked(folder))
        with replacing(folder / "config.yaml") as part:
            part.write_text(config.to_yaml(), encoding="utf-8")
        try:
            share = config, folder, checkpoint, time.monotonic() - started, (train_clips, val_clips)
            if config.train.devices == 1:
                _fit(0, *share, (data, module))
            else:
                del data, module  # every process has its own
                run_processes(config, _fit, *share)
        except UserError:
            if not (folder / CHECKPOINT).exists():  # a damaged clip of the first epoch: nothing worth keeping was made
                shutil.rmtree(folder)
            raise
        (folder / "hparams.yaml").unlink(missing_ok=True)  # left empty by the TensorBoard logger; config.yaml says all
        draw_curves(folder / "history.jsonl", folder / "curves.png")
    return folder


def _build(
    config: Config,
    train_clips: ClipSource | None,
    val_clips: ClipSource | None,
    checkpoint: Path | None = None,
    rank: int = 0,
) -> tuple[ClipDataModule, SegmentationModule]:
    seed_everything(config.train.seed, epoch=-1)
    module = SegmentationModule(config)
    if checkpoint is not None:
        module.model.normalisation = check_checkpoint(checkpoint, module)
    data = ClipDataModule(config, ClipPreprocessor.of(module.model), train_clips, val_clips, rank=rank)
    module.model.class_names = data.class_names
    return data, module


def run_processes(config: Config, work: Callable[..., None], *args: Any) -> None:
    """Call ``work(rank, *args)`` in as many new processes as there are ``train.devices``, which end and fail as one.

    `work` is a function of a module, which the processes import; its further arguments are pickled.

    Raises:
        UserError: Or `OSError`, `FloatingPointError`, `MemoryError`: the first that one of the processes raised.
        SystemExit: With 143 after SIGTERM and 130 after Ctrl-C.
    """
    # Read when the processes import torch. DDP would tell every run that it need not look for unused parameters;
    # whether there are any depends on the weights of the losses.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    options, failures = config.train, get_context(START_METHOD).SimpleQueue()
    fabric = Fabric(accelerator=_accelerator(options.device), strategy=f"ddp_{START_METHOD}", devices=options.devices)
    with _signals_handed_on() as received:
        try:
            fabric.launch(partial(_guarded, failures=failures, work=work, args=args))
        except (ProcessExitedException, ProcessRaisedException) as end:
            if not received and not failures.empty():
                raise failures.get() from None
            code = getattr(end, "exit_code", 1)
            if not received and code <= 128:
                raise
            raise SystemExit(128 + received[0] if received else code) from None
    if received:
        raise SystemExit(128 + received[0])


def _guarded(fabric: Fabric, failures: Any, work: Callable[..., None], args: tuple[Any, ...]) -> None:
    """One process: failures that the command line reports in one line are passed to the parent as they are."""
    try:
        work(fabric.global_rank, *args)
    except (UserError, OSError, FloatingPointError, MemoryError) as error:
        failures.put(error)
        raise SystemExit(1) from None


@contextmanager
def _signals_handed_on() -> Iterator[list[int]]:
    """Send SIGTERM to all processes after SIGTERM or Ctrl-C, and end them after a second one; yields the signals."""
    received: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        processes = active_children()
        if not processes:
            raise SystemExit(128 + number)
        for process in processes:
            process.terminate() if len(received) == 1 else process.kill()

    previous = {number: signal.signal(number, hand_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _fit(
    rank: int,
    config: Config,
    folder: Path,
    checkpoint: Path | None,
    used_seconds: float,
    clips: tuple[ClipSource | None, ClipSource | None],
    built: tuple[ClipDataModule, SegmentationModule] | None = None,
) -> None:
    """What the only process does, or one of several."""
    started = time.monotonic()
    data, module = built or _build(config, *clips, checkpoint, rank)
    with _quiet_lightning():
        if config.train.cache_features:
            module.cache_features(data)
        trainer = build_trainer(config, folder, data, used_seconds + time.monotonic() - started, rank)
        with restoring(trainer, checkpoint):
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)


def _check_devices(config: Config) -> None:
    """Refuse devices that are not available."""
    wanted, device = config.train.devices, config.train.device
    if device == "cpu" or (device == "auto" and wanted == 1):
        return
    found = torch.accelerator.current_accelerator(check_available=True)
    if device != "auto" and (found is None or found.type != device):
        raise UserError(f"train.device={device}, but torch finds no such device here: use auto or cpu")
    kind = found.type if found is not None and device == "auto" else "cpu" if device == "auto" else device
    present = torch.accelerator.device_count() if kind == "cuda" else 1
    if kind != "cpu" and wanted > present:
        raise UserError(f"train.devices={wanted}, but this machine has {present} of kind {kind}: lower it")


def _accelerator(device: str) -> str:
    """Lightning's word for a device."""
    return "gpu" if device == "cuda" else device


def new_folder(parent: str | Path, name: str) -> Path:
    """Make the next free folder ``parent/name-001``, ``-002`` ...; safe against runs that start at the same time."""
    for number in range(1, 100_000):
        folder = Path(parent) / f"{name}-{number:03d}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise UserError(f"{parent} holds 99,999 runs named {name}: choose another train.name")


def build_trainer(config: Config, folder: Path, data: ClipDataModule, used_seconds: float, rank: int = 0) -> Trainer:
    """Lightning's trainer with everything that watches over a run.

    `used_seconds` of ``train.max_minutes`` are gone already; `rank` is this process's among ``train.devices``.
    """
    options = config.train
    schedule = Schedule(options, options.epochs * data.batches_per_epoch, used_seconds)
    callbacks: list[Callback] = [schedule]
    if rank == 0:  # everything is shown and written once
        callbacks += [
            RunProgress(schedule, options.epochs),
            Previews(options.log_images),
            History(folder),
            BestModel(folder),
        ]
    if options.patience > 0:
        checks = math.ceil(options.patience / options.check_val_every_n_epochs)
        callbacks.append(EarlyStopping("val/miou", mode="max", patience=checks))
    callbacks.append(Resumable(folder / CHECKPOINT, options.seed, data))  # last: saves what the others did
    return Trainer(
        accelerator=_accelerator(options.device),
        devices=options.devices,
        # Parameters may go unused, such as those of heads whose loss has no weight.
        strategy="auto" if options.devices == 1 else DDPStrategy(find_unused_parameters=True),
        precision=options.precision,
        max_epochs=options.epochs,
        gradient_clip_val=options.gradient_clip or None,
        check_val_every_n_epoch=options.check_val_every_n_epochs,
        num_sanity_val_steps=0,
        log_every_n_steps=LOG_EVERY_STEPS,
        logger=TensorBoardLogger(folder, name="", version=""),
        callbacks=callbacks,
        plugins=[CheckpointFile()],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=rank == 0,
        use_distributed_sampler=False,
    )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's banners, and without warnings about what is meant here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in (
            r"Found \d+ module\(s\) in eval mode",  # frozen parts
            r"The number of training batches .* is smaller than the logging interval",
            r"The '.*_dataloader' does not have many workers",  # the configuration says how many
            r"You're resuming from a checkpoint that ended before the epoch ended",  # the sampler skips what was seen
            r"Checkpoint directory .* exists and is not empty",
            r".*treespec, LeafSpec",  # inside Lightning
            r"Experiment logs directory .* exists and is not empty",
        ):
            warnings.filterwarnings("ignore", message=message)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
