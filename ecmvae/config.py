"""Every knob of ecmvae: frozen dataclasses whose attribute docstrings become ``--help``; the network's in config_model.

A run's whole configuration is one `Config`. It is read from YAML files laid over each other (`load_config`), written
back next to every checkpoint, and unpacked at the model's door: no block below `ecmvae.models.build_model` sees it.
This file imports nothing heavier than PyYAML.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from ecmvae.config_loss import LossConfig as LossConfig
from ecmvae.config_model import AudioConfig as AudioConfig
from ecmvae.config_model import FusionConfig as FusionConfig
from ecmvae.config_model import LatentConfig as LatentConfig
from ecmvae.config_model import ModelConfig as ModelConfig
from ecmvae.config_model import VisualConfig as VisualConfig
from ecmvae.config_ranges import RANGES
from ecmvae.config_reader import build, check_keys, merge, nested, read_layers, with_new_names
from ecmvae.errors import UserError, check_range


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The data set, and how clips become tensors."""

    name: str = "s4"
    """s4, ms3 and avss: a folder in AVSBench's released layout (AVS-Collage is written in the first two, too). vpo_ss,
    vpo_ms, vpo_msmi, is3, is3_boxes, vggss, vggss_extended, aviseg, refavs: folders as these were released (see
    docs/data.md; some have a test split only). packed: any packed data set. collage: AVS-Collage composed on the fly.
    synthetic: moving shapes with timbres, needs no download. Or "package.module:load"."""
    root: str | None = None
    """The folder that holds the table of the data set, or the output of ecmvae data pack. collage: the cache of fetched
    packages."""
    kind: Literal["s4", "ms3", "both"] = "both"
    """collage and synthetic: one object sounds throughout (s4), a changing subset sounds (ms3), or half of each."""
    sound_augmentation: Literal["strong", "mild"] = "strong"
    """collage: how much the recordings of training clips vary: strong (pitch, gain, noise of several colours, spectral
    tilt and reverberation) or mild (less of the first three), which needs fewer steps."""
    free_scenes: float = 0.0
    """collage: share of the training scenes with objects of any size, overlapping, cut off by the border and blurred,
    and with objects that never sound."""
    image_size: int = 224
    """Side of the square frames the model sees, in pixels; a multiple of 32."""
    num_frames: int = 5
    """Frames T of a clip; any T works. avss: shorter clips are padded to T, longer ones cut (10 keeps all). aviseg,
    refavs: videos are cut into clips of T. vpo, is3, vggss: single pictures, always 1."""
    hop_seconds: float = 0.96
    """Seconds between two log-mel patches: 0.96 as AVSBench was released, 1.0 for Collage and for prediction."""
    supervised: Literal["auto", "first", "all"] = "auto"
    """Which frames' masks are used in training: auto = those of every frame that has one (S4 as released: the first
    only), first = only the first, even where there are more (S4's protocol on any data), all = all, which must
    exist."""
    mask_rule: Literal["any", "released"] = "any"
    """s4, ms3: which pixels of a mask are foreground: any = those that are not black; released = as the authors'
    loaders convert the file (S4: black and white with dithering; MS3: grey levels or palette indices divided by 255,
    used as they are in training). They differ for grey pixels, which `ecmvae check-data` counts."""
    length: int = 1200
    """collage and synthetic: number of training scenes. Which objects sound is sampled again in every epoch."""
    val_length: int = 64
    """collage and synthetic: number of validation clips."""
    folds: int = 0
    """collage: hold out pictures and recordings by cross-validation with this many folds; 0 = those of the class table.
    The audio encoder must be trained on the same fold (`ecmvae train-audio --folds --fold`)."""
    fold: int = 0
    """collage: number of the held-out fold, from 0."""
    horizontal_flip: float = 0.0
    """Probability of flipping a whole training clip with its masks."""
    feature_cache: str | None = None
    """Folder in which train.cache_features keeps the maps of the frozen backbone for other processes and later runs,
    keyed by its weights and the clips' frames, and the embeddings of a frozen foundation audio encoder. None = in
    memory, for this run."""
    negatives: float = 0.0
    """collage: share of the training clips with a sound of nothing in the picture (speech, music, noise, an absent
    class), mostly alone: the correct mask is then empty. This reduces false masks; see docs/data-collage.md."""
    workers: int = 2
    """Processes that prepare clips; 0 = in the main process."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Training: schedule, optimiser, devices, logging."""

    out: str = "runs"
    """Parent of the run folders, which are numbered and never overwritten."""
    name: str = "train"
    """Name of the run folder."""
    initial_checkpoint: str | None = None
    """Start from the weights of this trained model (run, model folder or name) instead of those of `model.visual` and
    `model.audio`; the network must be the same. MS3 is commonly started from a model trained on S4."""
    frozen_parts: list[str] = field(default_factory=list, hash=False)
    """Take only these parts of initial_checkpoint, by their dotted names ("agreement.answer.neck"), and keep them
    frozen; the rest is initialised as usual and may differ."""
    epochs: int = 15
    """Passes over the training clips."""
    max_minutes: float | None = None
    """Stop after at most this many minutes; the learning-rate schedule is adapted to it."""
    batch_size: int = 4
    """Clips B in a batch, over all devices together."""
    learning_rate: float = 1e-4
    """Peak learning rate."""
    backbone_multiplier: float = 1.0
    """The backbones (visual and audio) learn at this multiple of the learning rate; 0.1 is common."""
    slow_parts: list[str] = field(default_factory=list, hash=False)
    """Further parts that learn at it, by their dotted names ("agreement.answer.far")."""
    weight_decay: float = 0.0
    """Weight decay; above 0 the optimiser is AdamW, else Adam."""
    decay_norms: bool = True
    """False: no weight decay on biases and normalisation layers, as timm trains."""
    schedule: Literal["constant", "one_cycle", "cosine", "poly"] = "constant"
    """constant, as the paper; one_cycle over the run; cosine, or poly (power 0.9), down to 0."""
    warmup: float = 0.0
    """Share of the run, 0 to 1, over which the rate of constant, cosine and poly rises linearly first."""
    gradient_clip: float = 0.0
    """Clip the gradient's norm; 0 = off."""
    accumulate: int = 1
    """Batches whose gradients are added up before a step: batch_size 1 with accumulate 4 takes the steps of batch_size
    4 in a quarter of the memory (except for batch normalisation and for losses that compare the clips of a batch)."""
    averaging: Literal["none", "ema", "swa"] = "none"
    """Validate and save the average of the weights over steps: ema (exponential) or swa (equal, over the run's end)."""
    ema_decay: float = 0.999
    """Decay of ema, 0 to 1."""
    swa_start: float = 0.75
    """Share of the run after which swa begins."""
    batch_norm: Literal["batch", "sync", "frozen"] = "batch"
    """Statistics of batch normalisation: each process's own batch, those of all GPUs together (sync), or those of the
    pretrained weights (frozen)."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "auto"] = "32-true"
    """Arithmetic of the forward and backward pass; auto = bf16-mixed if the device supports bfloat16 (a GPU, or a CPU
    with AMX or AVX512-BF16), else 32-true."""
    tf32: bool = True
    """Let CUDA GPUs multiply float32 matrices in TF32, which is faster and keeps 10 bits of the mantissa."""
    deterministic: bool = False
    """Refuse operations whose result depends on the order of threads, as some do on GPUs; slower. On a CPU a run
    repeats to the bit without it, see docs/reliability.md."""
    compile: bool = False
    """Compile the model with torch.compile: minutes at the start, for faster steps."""
    activation_checkpointing: bool = False
    """Recompute the activations of the visual backbone's blocks in the backward pass: less memory, slower steps."""
    cache_features: bool = False
    """Compute a frozen backbone's maps once per clip (with the regions frozen, these) and keep them in memory as
    float16, and the embeddings of a frozen ast, clap or pe_a_frame once per sound."""
    patience: int = 0
    """Stop when validation mIoU has not risen for this many epochs; 0 = never."""
    check_val_every_n_epochs: int = 1
    """Epochs between two validations."""
    seed: int = 1234
    """Seed of Python, NumPy, torch and the data."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train."""
    devices: int = 1
    """Training processes on each machine: one for each GPU, or this many on the CPU. Each takes its share of every
    batch. Not needed with torchrun and SLURM, which set the number."""
    num_nodes: int = 1
    """Number of machines; run the command on each, see docs/train.md. Not needed with torchrun and SLURM."""
    strategy: Literal["auto", "ddp", "ddp_spawn", "ddp_notebook"] = "auto"
    """How Lightning starts several processes: auto = ddp (repeats the command for each device), ddp_spawn (from a
    Python program that must not be run again) or ddp_notebook (forked)."""
    loggers: list[Literal["tensorboard", "csv", "wandb", "mlflow"]] = field(
        default_factory=lambda: ["tensorboard"], hash=False
    )
    """Loggers besides the run's history.jsonl: any of [tensorboard, csv, wandb, mlflow]."""
    log_images: int = 4
    """Number of validation clips whose masks are shown in TensorBoard."""


_WITHOUT_CLASSES = (
    *(
        "s4",
        "ms3",
        "collage",
        "synthetic",
        "is3",
        "is3_boxes",
        "vggss",
        "vggss_extended",
        "aviseg",
        "refavs",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        """Check what one field alone cannot show.

        Raises:
            UserError: Naming the key, its value and the remedy.
        """
        model, data, train = self.model, self.data, self.train
        parts = {
            "model": model,
            "model.visual": model.visual,
            "model.latent": model.latent,
            "model.fusion": model.fusion,
            "data": data,
            "train": train,
        }
        for name, ranges in RANGES.items():
            for key, (low, high) in ranges.items():
                check_range(f"{name}.{key}", getattr(parts[name], key), low, high)
        _require(
            data.image_size % 32 == 0,
            f"data.image_size={data.image_size} must be a multiple of 32 (224 in the paper)",
        )
        _require(
            data.folds != 1,
            "data.folds=1 leaves nothing to train on: choose at least 2 folds, or 0",
        )
        _require(
            data.fold < max(data.folds, 1),
            f"data.fold={data.fold} must be below data.folds={data.folds}: folds are counted from 0",
        )
        _require(
            0 <= data.horizontal_flip <= 1,
            "data.horizontal_flip is a probability: choose it from 0 to 1",
        )
        _require(
            model.num_classes == 1 or data.name not in _WITHOUT_CLASSES,
            f"model.num_classes={model.num_classes} needs labelled classes, which data.name={data.name} does not have: "
            "set data.name to avss or vpo_ss, or model.num_classes to 1",
        )
        _require(
            data.name != "avss" or data.supervised != "all",
            "data.supervised=all is not available for avss, which labels one frame of a training clip of v1s: use auto",
        )
        for name, value in vars(self.loss).items():
            _require(
                value is None or isinstance(value, str | dict) or value >= 0,
                f"loss.{name}={value} must not be negative",
            )
        balance, plain = (
            self.loss.kl_balance,
            self.loss.kl_balance is None and self.loss.free_bits == 0,
        )
        _require(
            train.schedule != "one_cycle" or train.warmup == 0,
            "train.warmup is part of one_cycle already: choose constant, cosine or poly with it, or leave it out",
        )
        _require(
            balance is None or balance <= 1,
            f"loss.kl_balance={balance} is a share: choose it from 0 to 1",
        )
        _require(
            plain or self.loss.formulas == "principled",
            "loss.free_bits and loss.kl_balance change the KL: set loss.formulas to principled with them",
        )
        _require(
            not train.deterministic or train.max_minutes is None,
            "train.max_minutes depends on the machine's speed: leave it or train.deterministic out",
        )
        processes = train.devices * train.num_nodes
        _require(
            train.batch_size % processes == 0,
            f"train.batch_size={train.batch_size} cannot be shared equally by {processes} processes (train.devices x "
            "train.num_nodes): choose a multiple",
        )
        finite = 0 < train.learning_rate < float("inf")
        _require(
            finite, f"train.learning_rate={train.learning_rate} must be a finite number above 0"
        )
        _require(
            data.feature_cache is None or train.cache_features,
            "data.feature_cache is where train.cache_features keeps features: set that to true, or leave it out",
        )
        if train.cache_features:
            _require(model.visual.frozen, "train.cache_features needs model.visual.frozen: true")
            _require(
                data.horizontal_flip == 0, "train.cache_features needs data.horizontal_flip: 0"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries, as written to config.yaml."""
        return dataclasses.asdict(self)

    def to_yaml(self) -> str:
        """The YAML text that `load_config` reads back to an equal Config."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)


class ConfigFiles(tuple[str, ...]):
    """The paths that a command was given by ``--config``, the first one lowest; the command line fills it in."""


class ConfigSettings(dict[str, str]):
    """The settings that a command was given as options, by dotted name; the command line fills it in."""


def load_config(
    paths: str | Path | Iterable[str | Path] = (), overrides: Mapping[str, Any] | None = None
) -> Config:
    """Read YAML files, each laid over the one before, then dotted overrides.

    Args:
        paths: One path or several; later files win, key by key. A file may name others that it is laid over, see
            `ecmvae.config_reader`.
        overrides: For instance ``{"model.latent.dim": 8}``; strings are read as YAML scalars.

    Returns:
        The validated configuration.

    Raises:
        UserError: For a missing or malformed file, an unknown key (with the nearest right one) or a wrong value.
    """
    layers = [
        read_config_file(path) for path in ([paths] if isinstance(paths, str | Path) else paths)
    ]
    return config_from_dict(merge([*layers, with_new_names(nested(overrides or {}))]))


def read_config_file(path: str | Path) -> dict[str, Any]:
    """Nested settings of a YAML file and of those it names as its base, under their present names.

    Raises:
        UserError: For a missing or malformed file, or an unknown key (with the nearest right one).
    """
    values = with_new_names(read_layers(Path(path)))
    check_keys(Config, values)
    return values


def config_from_dict(values: Mapping[str, Any]) -> Config:
    """Build a `Config` from nested dictionaries; keys left out keep their defaults.

    Raises:
        UserError: For an unknown key (with the nearest right one) or a value of the wrong type.
    """
    return build(Config, with_new_names(values))


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)
