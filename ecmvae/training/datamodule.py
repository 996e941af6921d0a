"""Training clips: which data set, in which order, heard how; the same for a seed and an epoch whatever the workers do.

A loader asks for ``(epoch, index)`` rather than for ``index``. So every worker, also one that has been alive since
the first epoch or that fetches ahead, composes the clip of the right epoch, and a run resumed in the middle of an epoch
goes on with the very next clip.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Literal

import lightning
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ecmvae.config import Config
from ecmvae.data.clips import ClipSource, log_mel_of
from ecmvae.errors import UserError
from ecmvae.types import AVBatch, AVClip


def build_datasets(config: Config) -> tuple[ClipSource, ClipSource]:
    """The training and the validation clips that ``config.data`` names, before any augmentation.

    Raises:
        UserError: When the data cannot be found.
    """
    return _DATASETS[config.data.name](config)


def _avsbench(config: Config, task: Literal["s4", "ms3"]) -> tuple[ClipSource, ClipSource]:
    from ecmvae.data.avsbench import AVSBenchDataset

    data = config.data
    if data.root is None:
        raise UserError(f"data.name is {data.name}: say where its folder lies with --data.root FOLDER")
    train, val = (
        AVSBenchDataset(
            data.root,
            task,
            split,
            image_size=data.image_size,
            num_frames=data.num_frames,
            hop_seconds=data.hop_seconds,
            supervised=data.supervised if split == "train" else "auto",
        )
        for split in ("train", "val")
    )
    return train, val


def _avss(config: Config) -> tuple[ClipSource, ClipSource]:
    from ecmvae.data.avss import NUM_CLASSES, AVSSDataset

    data, classes = config.data, config.model.num_classes
    if data.root is None:
        raise UserError("data.name is avss: say where its folder lies with --data.root FOLDER")
    if classes not in (1, NUM_CLASSES):
        raise UserError(f"avss has {NUM_CLASSES} classes, not {classes}: set model.num_classes to {NUM_CLASSES}")
    train, val = (
        AVSSDataset(
            data.root, split, image_size=data.image_size, num_frames=data.num_frames, hop_seconds=data.hop_seconds
        )
        for split in ("train", "val")
    )
    return train, val


def _collage(config: Config) -> tuple[ClipSource, ClipSource]:
    from ecmvae.data.collage.clips import SECONDS, CollageClips, CollageSources

    data, seed = config.data, config.train.seed
    if data.num_frames != SECONDS:
        raise UserError(f"AVS-Collage composed on the fly has {SECONDS} frames a clip, not {data.num_frames}")
    sources = CollageSources.fetch(data.root)
    train, val = (
        CollageClips(
            sources,
            kind=data.kind,
            split=split,
            length=length,
            size=data.image_size,
            seed=seed,
            remix=split == "train",
            hop_seconds=data.hop_seconds,
            keep_frames=config.train.cache_features,
        )
        for split, length in (("train", data.length), ("val", data.val_length))
    )
    return train, val


def _synthetic(config: Config) -> tuple[ClipSource, ClipSource]:
    from ecmvae.data.synthetic import SyntheticAVS

    data, seed = config.data, config.train.seed
    train, val = (
        SyntheticAVS(
            kind=data.kind,
            length=length,
            size=data.image_size,
            seed=seed + offset,
            num_frames=data.num_frames,
            hop_seconds=data.hop_seconds,
            remix=offset == 0,
        )
        for length, offset in ((data.length, 0), (data.val_length, 1))
    )
    return train, val


_DATASETS: dict[str, Callable[[Config], tuple[ClipSource, ClipSource]]] = {
    "s4": partial(_avsbench, task="s4"),
    "ms3": partial(_avsbench, task="ms3"),
    "avss": _avss,
    "collage": _collage,
    "synthetic": _synthetic,
}


class EpochClips(Dataset[AVClip]):
    """Clips by ``(epoch, index)``, mirrored, supervised and heard as the configuration says.

    Args:
        clips: The data set below; its ``set_epoch(epoch)`` is called where it has one.
        seed: With the epoch and the index it decides the coin of the mirror and whose sound is heard.
        flip: Probability of mirroring a whole clip, masks and all.
        first_only: Only the first frame's mask trains the model (S4's protocol).
        source: "real", "silent" (log-mel of digital silence) or "shuffled" (another clip's sound).
    """

    def __init__(
        self, clips: ClipSource, *, seed: int, flip: float = 0.0, first_only: bool = False, source: str = "real"
    ) -> None:
        if source == "shuffled" and len(clips) < 2:
            raise UserError("model.audio.source=shuffled needs at least two clips: there is no other clip to hear")
        self.clips, self.seed, self.flip, self.first_only, self.source = clips, seed, flip, first_only, source

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, int]) -> AVClip:
        epoch, place = key
        index = place % len(self)
        if (set_epoch := getattr(self.clips, "set_epoch", None)) is not None:
            set_epoch(epoch)
        clip = replace(self.clips[index], index=index)
        if place != index:  # it only fills up a process's share: no frame of it counts again
            clip = replace(clip, valid=torch.zeros(len(clip.frames), dtype=torch.bool))
        if self.source != "real":
            clip = replace(clip, log_mel=self._other_sound(clip.log_mel, epoch, index))
        if self.first_only:
            supervised = torch.zeros(len(clip.frames), dtype=torch.bool)
            supervised[0] = True
            clip = replace(clip, supervised=supervised)
        if self.flip and torch.rand((), generator=_generator(self.seed, epoch, index)) < self.flip:
            clip = mirrored(clip)
        return clip

    def _other_sound(self, log_mel: Tensor, epoch: int, index: int) -> Tensor:
        if self.source == "silent":
            return torch.full_like(log_mel, SILENT_LOG_MEL)
        # One shift of the whole data set a seed and epoch: nobody hears himself, everybody is heard once.
        shift = int(torch.randint(1, len(self), (), generator=_generator(self.seed, epoch)))
        other = (index + shift) % len(self)
        return log_mel_of(self.clips, other)


SILENT_LOG_MEL = float(torch.log(torch.tensor(0.01)))
"""What VGGish's front end, log(mel + 0.01), makes of digital silence."""


def mirrored(clip: AVClip) -> AVClip:
    """The clip seen in a mirror: frames, masks, objects and labels with left and right exchanged."""
    maps = ("frames", "masks", "objects", "labels")
    return replace(clip, **{name: value.flip(-1) for name in maps if (value := getattr(clip, name)) is not None})


class EpochSampler(Sampler[tuple[int, int]]):
    """A new order every epoch, decided by seed and epoch alone.

    A last, smaller batch is left out: every epoch reshuffles, and BatchNorm dislikes a batch of one clip. Of several
    processes each gets its share of every batch, so that together they see what one process would.

    Args:
        length: Clips of the data set.
        seed: Seed of the order.
        batch_size: Clips of a batch, all processes together.
        rank: Number of this process.
        processes: How many there are.
    """

    def __init__(self, length: int, seed: int, batch_size: int = 1, *, rank: int = 0, processes: int = 1) -> None:
        self.length, self.seed, self.batch_size = length, seed, batch_size
        self.rank, self.share = rank, batch_size // processes
        self.epoch, self.skipped = 0, 0

    def set_epoch(self, epoch: int, skipped: int | None = None) -> None:
        """Go to an epoch; `skipped` leaves out clips already seen before a stop (None: as they are, 0 when new)."""
        if skipped is not None or epoch != self.epoch:
            self.epoch, self.skipped = epoch, skipped or 0

    def __len__(self) -> int:
        return self.length // self.batch_size * self.share

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, skipped = self.epoch, self.skipped
        order = torch.randperm(self.length, generator=_generator(self.seed, epoch)).tolist()
        for batch in range(skipped, self.length - self.batch_size + 1, self.batch_size):
            start = batch + self.rank * self.share
            yield from ((epoch, index) for index in order[start : start + self.share])


class InOrder(Sampler[tuple[int, int]]):
    """The clips in the data set's order, as of epoch 0; several processes take turns.

    All processes get equally many, for they wait for each other; places beyond the end stand for clips that come again.

    Args:
        length: Clips of the data set.
        rank: Number of this process.
        processes: How many there are.
    """

    def __init__(self, length: int, *, rank: int = 0, processes: int = 1) -> None:
        self.length, self.rank, self.processes = length, rank, processes

    def __len__(self) -> int:
        return -(-self.length // self.processes)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for turn in range(len(self)):
            yield 0, turn * self.processes + self.rank


class ClipDataModule(LightningDataModule):
    """Both loaders of a run; remembers in the checkpoint where in the epoch a run was stopped.

    Args:
        config: The run's configuration.
        train: Training clips; None builds what the configuration names.
        val: Validation clips, likewise.
        rank: Number of this process among ``train.devices``.
    """

    def __init__(
        self, config: Config, train: ClipSource | None = None, val: ClipSource | None = None, *, rank: int = 0
    ) -> None:
        super().__init__()
        if train is None or val is None:
            train, val = build_datasets(config)
        for clips, key in ((train, "training"), (val, "validation")):
            if len(clips) == 0:
                raise UserError(f"there are no {key} clips in {config.data.root or config.data.name}")
        data, source = config.data, config.model.audio.source
        self.config = config
        # Clips given to `train` may have labels without names for them.
        self.class_names: tuple[str, ...] = getattr(train, "class_names", ()) if config.model.num_classes > 1 else ()
        self.train_clips = EpochClips(
            train,
            seed=config.train.seed,
            flip=data.horizontal_flip,
            first_only=data.supervised == "first",
            source=source,
        )
        self.val_clips = EpochClips(val, seed=config.train.seed, source=source)
        processes = config.train.devices
        if len(train) < processes:
            raise UserError(f"train.devices={processes} is more than the {len(train)} training clips")
        self.share = min(config.train.batch_size, len(train)) // processes
        self.batch_size = self.share * processes
        self.batches_per_epoch = len(train) // self.batch_size
        self.sampler = EpochSampler(len(train), config.train.seed, self.batch_size, rank=rank, processes=processes)
        self.val_sampler = InOrder(len(val), rank=rank, processes=processes)

    def train_dataloader(self) -> DataLoader[AVClip]:
        """Batches of `AVBatch` in this epoch's order."""
        return self._loader(self.train_clips, self.sampler)

    def val_dataloader(self) -> DataLoader[AVClip]:
        """The validation clips, in the order of the data set."""
        return self._loader(self.val_clips, self.val_sampler)

    def resume_at(self, step: int) -> None:
        """Let the next training batch be the one after `step` batches of the run."""
        epoch, batches = divmod(step, self.batches_per_epoch)
        self.sampler.set_epoch(epoch, skipped=batches * self.batch_size)

    def _loader(self, clips: EpochClips, sampler: EpochSampler | InOrder) -> DataLoader[AVClip]:
        workers = self.config.data.workers
        return DataLoader(
            clips,
            batch_size=self.share,
            sampler=sampler,
            num_workers=workers,
            collate_fn=AVBatch.collate,
            worker_init_fn=_quiet_worker,
            persistent_workers=workers > 0 and isinstance(sampler, EpochSampler),
            pin_memory=torch.cuda.is_available() and self.config.train.device in ("auto", "cuda"),
            prefetch_factor=4 if workers else None,
            # Its own generator: starting an iterator must not draw from the generator that latents are sampled by.
            generator=torch.Generator(),
        )


def _quiet_worker(_: int) -> None:
    """Leave Ctrl-C and SIGTERM to the main process, which stops its workers itself once the checkpoint is saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _generator(*numbers: int) -> torch.Generator:
    """A generator of its own for every tuple of small numbers."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 0x9E3779B9) % (2**63 - 1)
    return torch.Generator().manual_seed(seed)


def seed_everything(seed: int, epoch: int) -> None:
    """Start Python's, NumPy's and torch's generators afresh for one epoch of one seed."""
    derived = int(torch.randint(2**31 - 1, (), generator=_generator(seed, epoch)))
    lightning.seed_everything(derived, verbose=False)
