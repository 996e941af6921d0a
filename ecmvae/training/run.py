"""A training run, from a configuration to a folder with the best model in it."""

from __future__ import annotations

import logging
import math
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from glob import escape
from pathlib import Path

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, Trainer

from ecmvae.config import Config, TrainConfig
from ecmvae.data.clips import ClipSource
from ecmvae.data.loading import require_root
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.device import multiplies_bfloat16
from ecmvae.errors import UserError
from ecmvae.files import replacing, require_space, write_json
from ecmvae.locks import locked
from ecmvae.training.averaging import AveragedWeights
from ecmvae.training.callbacks import (
    BestModel,
    CheckpointFile,
    Patience,
    Resumable,
    tensor_bytes,
)
from ecmvae.training.datamodule import ClipDataModule, seed_everything
from ecmvae.training.differs import write_differences
from ecmvae.training.finite import NotFiniteError
from ecmvae.training.launch import (
    choose_strategy,
    destroy_group_at_exit,
    fit_to_launcher,
    telling_lost_processes,
)
from ecmvae.training.leaks import check_folds
from ecmvae.training.loggers import make_loggers, refuse_missing_loggers
from ecmvae.training.module import LOG_EVERY_STEPS, SegmentationModule
from ecmvae.training.monitor import History, Previews, draw_curves
from ecmvae.training.progress import RunProgress
from ecmvae.training.resuming import (
    CHECKPOINT,
    Resumption,
    checkpoints_of,
    newest_good,
    newest_run,
    remove_run_leftovers,
    restoring,
)
from ecmvae.training.schedule import Schedule

logger = logging.getLogger(__name__)

NOT_FINITE = "not_finite.json"
"""Where a run whose loss is no longer finite says at which step that was, with which clips, and every loss term."""


def train(
    config: Config,
    resume: str | Path | None = None,
    *,
    train_clips: ClipSource | None = None,
    val_clips: ClipSource | None = None,
    files: Sequence[str | Path] = (),
) -> Path:
    """Train ECMVAE.

    The run's folder holds ``config.yaml`` (every knob, as resolved), ``differs.md`` (how it differs from what was
    published and from its recipe, see `ecmvae.training.differs`), ``best/`` (the model folder of the epoch with
    the best validation mIoU), ``checkpoints/last.ckpt`` with ``previous.ckpt``, the one before it, ``history.jsonl``,
    ``curves.png`` and TensorBoard's events.

    With several ``train.devices`` or nodes it is the same run, each batch shared by as many processes. Lightning starts
    those that torchrun or SLURM has not started, by running the calling script again: what the script does before and
    after, every process does.

    Args:
        config: The run's configuration.
        resume: The folder of a stopped run, to go on in; "auto" is the newest one of this very configuration, or a new
            run where there is none. It ends as if it had never stopped, to the bit on a CPU. If the last checkpoint
            cannot be read, it goes on from the one before.
        train_clips: Training clips, in place of those that ``config.data`` names.
        val_clips: Validation clips, likewise; give both or none.
        files: The YAML files that the configuration was made from, for ``differs.md``; the first one is the recipe.

    Returns:
        The run's folder.

    Raises:
        UserError: For data, weights or a run that cannot be used, or one that another process trains.
        NotFiniteError: When the loss is no longer finite; ``not_finite.json`` in the run's folder has the clips and
            terms of that step.
        LostProcessError: When another process of a distributed run has ended.
        SystemExit: With 143 after SIGTERM and 130 after Ctrl-C, once the checkpoint is saved.
    """
    started = time.monotonic()
    if (train_clips is None) != (val_clips is None):
        raise UserError("give both train_clips and val_clips, or neither")
    config = _on_this_machine(config)
    if resume == "auto":
        resume = newest_run(config)
    checkpoints = [] if resume is None else checkpoints_of(Path(resume))
    check_folds(config)
    with ExitStack() as held:
        held.enter_context(_quiet_lightning())
        held.callback(
            torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled()
        )
        trainer = build_trainer(config)
        if trainer.world_size > 1:
            destroy_group_at_exit()
        if resume is not None and trainer.is_global_zero:
            held.enter_context(locked(Path(resume)))
            remove_run_leftovers(Path(resume))
        data, module, resumption = _build(config, train_clips, val_clips, checkpoints)
        if resume is not None and resumption is not None and resumption.finished(config.train):
            if trainer.is_global_zero:
                logger.warning(
                    "%s has finished, after %d epochs: nothing is left to train",
                    resume,
                    resumption.epochs,
                )
                # it may have been killed here
                draw_curves(Path(resume) / "history.jsonl", Path(resume) / "curves.png")
            return Path(resume)
        checkpoint = None if resumption is None else resumption.checkpoint
        folder = None
        if trainer.is_global_zero:
            # Only now, so that a mistake in data or weights leaves no empty run behind.
            _require_room(module, Path(config.train.out if resume is None else resume))
            folder = (
                Path(resume)
                if resume is not None
                else new_folder(config.train.out, config.train.name)
            )
            if resume is None:
                for run in folder.parent.glob(f"{escape(config.train.name)}-*"):
                    # of those that were killed before there was anything to resume
                    remove_run_leftovers(run)
                held.enter_context(locked(folder))
            with replacing(folder / "config.yaml") as part:
                part.write_text(config.to_yaml(), encoding="utf-8")
            if resume is None:
                write_differences(folder, config, files)
        watch(trainer, config, folder, data, started)
        try:
            with telling_lost_processes(trainer), restoring(trainer, checkpoint):
                trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        except NotFiniteError as error:
            if folder is None:
                raise
            write_json(folder / NOT_FINITE, error.details)
            raise NotFiniteError(
                f"{error} (details: {folder / NOT_FINITE})", **error.details
            ) from error
        except SystemExit as left:
            # before training, where Lightning makes it exit code 1
            if isinstance(left.__context__, KeyboardInterrupt):
                raise left.__context__ from None
            raise
        except UserError:
            if folder is not None and not (folder / CHECKPOINT).exists():
                # a damaged clip of the first epoch: nothing worth keeping was made
                shutil.rmtree(folder)
            raise
        if dist.is_initialized():
            folder = trainer.strategy.broadcast(folder)
        assert folder is not None
        if not trainer.is_global_zero:
            return folder
        # left empty by the TensorBoard logger; config.yaml says all
        (folder / "hparams.yaml").unlink(missing_ok=True)
        draw_curves(folder / "history.jsonl", folder / "curves.png")
    return folder


def _build(
    config: Config,
    train_clips: ClipSource | None,
    val_clips: ClipSource | None,
    checkpoints: Sequence[Path] = (),
) -> tuple[ClipDataModule, SegmentationModule, Resumption | None]:
    if train_clips is None or val_clips is None:
        require_root(config.data)  # before the weights, which are looked for first
    seed_everything(config.train.seed, epoch=-1)
    module = SegmentationModule(config)
    resumption = newest_good(checkpoints, module) if checkpoints else None
    if resumption is not None:
        module.model.normalisation = resumption.normalisation
    data = ClipDataModule(config, ClipPreprocessor.of(module.model), train_clips, val_clips)
    module.model.class_names = data.class_names
    return data, module, resumption


def _require_room(module: SegmentationModule, folder: Path) -> None:
    """Refuse to start where the run's files do not fit: three checkpoints while one is written, and two models.

    Raises:
        UserError: Saying how much is needed and how much is free.
    """
    model = tensor_bytes(module.state_dict())
    moments = 2 * sum(each.nbytes for each in module.parameters() if each.requires_grad)
    try:
        require_space(folder, 3 * (model + moments) + 2 * model, "this run")
    except OSError as error:
        raise UserError(f"{error}: free some, or choose another train.out") from error


def _on_this_machine(config: Config) -> Config:
    """The configuration with what depends on the machine decided: processes, precision.

    Raises:
        UserError: For devices or packages that are not there.
    """
    config = fit_to_launcher(config)
    options, kind = config.train, _device_kind(config.train)
    refuse_missing_loggers(options.loggers)
    if options.batch_norm == "sync" and kind != "cuda":
        raise UserError(f"train.batch_norm=sync needs CUDA GPUs, not {kind}: use batch or frozen")
    if kind == "cuda":
        torch.set_float32_matmul_precision("high" if options.tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = options.tf32
    if options.precision != "auto":
        return config
    return replace(
        config,
        train=replace(options, precision="bf16-mixed" if multiplies_bfloat16(kind) else "32-true"),
    )


def _device_kind(options: TrainConfig) -> str:
    """cpu, cuda or mps: what ``train.device`` stands for here.

    Raises:
        UserError: For devices that are not available.
    """
    if options.device == "cpu":
        return "cpu"
    found = torch.accelerator.current_accelerator(check_available=True)
    if options.device != "auto" and (found is None or found.type != options.device):
        raise UserError(
            f"train.device={options.device}, but torch finds no such device here: use auto or cpu"
        )
    kind = "cpu" if found is None else found.type
    present = torch.accelerator.device_count() if kind == "cuda" else 1
    if kind != "cpu" and options.devices > present:
        raise UserError(
            f"train.devices={options.devices}, but this machine has {present} of kind {kind}: lower it"
        )
    return kind


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


def build_trainer(config: Config) -> Trainer:
    """Lightning's trainer, which knows from now on which process of how many this is; see `watch`."""
    options = config.train
    return Trainer(
        accelerator=_accelerator(options.device),
        devices=options.devices,
        num_nodes=options.num_nodes,
        strategy=choose_strategy(options),
        precision=options.precision,  # type: ignore[arg-type]  # auto is decided by now
        max_epochs=options.epochs,
        sync_batchnorm=options.batch_norm == "sync",
        gradient_clip_val=options.gradient_clip or None,
        check_val_every_n_epoch=options.check_val_every_n_epochs,
        deterministic=options.deterministic,
        num_sanity_val_steps=0,
        log_every_n_steps=LOG_EVERY_STEPS,
        logger=False,
        plugins=[CheckpointFile()],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
    )


def watch(
    trainer: Trainer, config: Config, folder: Path | None, data: ClipDataModule, started: float
) -> None:
    """Give the trainer everything that watches over a run.

    Args:
        trainer: The trainer, still without callbacks and loggers.
        config: The run's configuration.
        folder: The run's folder; None in all processes but the first, which shows and writes everything.
        data: The run's data.
        started: `time.monotonic` when the run began: part of ``train.max_minutes`` goes before the first step.
    """
    options = config.train
    trainer.accumulate_grad_batches = data.accumulate
    schedule = Schedule(options, options.epochs * data.steps_per_epoch, started)
    callbacks: list[Callback] = [schedule]
    if trainer.is_global_zero:
        assert folder is not None
        trainer.loggers = make_loggers(config, folder)
        callbacks += [
            RunProgress(schedule, options.epochs),
            Previews(options.log_images),
            History(folder),
            BestModel(folder),
        ]
    if options.patience > 0:
        checks = math.ceil(options.patience / options.check_val_every_n_epochs)
        # Lightning would check after the checkpoint is saved, which then neither knew of the check nor of the stop.
        callbacks.append(
            Patience("val/miou", mode="max", patience=checks, check_on_train_epoch_end=False)
        )
    if options.averaging != "none":
        callbacks.append(AveragedWeights(options, schedule))
    # Last: it saves what the others did.
    callbacks.append(Resumable(None if folder is None else folder / CHECKPOINT, options.seed, data))
    trainer.callbacks.extend(callbacks)  # type: ignore[attr-defined]  # a connector of Lightning's sets it


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
