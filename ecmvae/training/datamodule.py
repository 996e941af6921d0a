"""Training clips: which data set, in which order, heard how; the same for a seed and an epoch whatever the workers do.

A loader asks for ``(epoch, index)`` rather than for ``index``. So every worker, also one that has been alive since
the first epoch or that fetches ahead, composes the clip of the right epoch, and a run resumed in the middle of an epoch
goes on with the very next clip.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import lightning
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler

from ecmvae.audio.conditions import derangement
from ecmvae.config import Config
from ecmvae.data.clips import ClipSource, sound_only
from ecmvae.data.loading import load_clips
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.errors import UserError
from ecmvae.training.features import FeatureCache
from ecmvae.training.transfer import collate_small, finish
from ecmvae.types import AVBatch, AVClip


def build_datasets(config: Config) -> tuple[ClipSource, ClipSource]:
    """The training and the validation clips that ``config.data`` names, before any augmentation.

    Raises:
        UserError: When the data cannot be found.
    """
    train, val = (
        load_clips(config.data, split, seed=config.train.seed) for split in ("train", "val")
    )
    names, classes = getattr(train, "class_names", ()), config.model.num_classes
    if names and classes not in (1, len(names)):
        raise UserError(
            f"{config.data.name} has {len(names)} classes, not {classes}: set model.num_classes to {len(names)}"
        )
    return train, val


class EpochClips(Dataset[AVClip]):
    """Clips by ``(epoch, index)``: supervised and heard as the configuration says, and with the model's audio features.

    Frames stay as they were read. Which clips are mirrored is decided here, and done by `ecmvae.training.transfer`.

    Args:
        clips: The data set below; its ``set_epoch(epoch)`` is called where it has one.
        preprocessor: Prepares them for the model.
        seed: With the epoch and the index it decides the coin of the mirror and whose sound is heard.
        flip: Probability of mirroring a whole clip, masks and all.
        first_only: Only the first frame's mask trains the model (S4's protocol).
        source: "real", "silent" or "shuffled", see `ecmvae.audio.conditions`.

    Raises:
        UserError: If sounds are to be shuffled and there are fewer than two clips.
    """

    def __init__(
        self,
        clips: ClipSource,
        preprocessor: ClipPreprocessor,
        *,
        seed: int,
        flip: float = 0.0,
        first_only: bool = False,
        source: str = "real",
    ) -> None:
        if source == "shuffled":
            derangement(len(clips), seed)
        self.clips, self.preprocessor, self.seed = clips, preprocessor, seed
        self.flip, self.first_only, self.source = flip, first_only, source

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, int]) -> AVClip:
        epoch, place = key
        index = place % len(self)
        if (set_epoch := getattr(self.clips, "set_epoch", None)) is not None:
            set_epoch(epoch)
        clip = replace(self.clips[index], index=index)
        if self.source != "real":
            clip = replace(clip, **self._other_sound(epoch, index))
        clip = self.preprocessor.with_audio(clip)
        if place != index:  # it only fills up a process's share: no frame of it counts again
            clip = replace(clip, valid=torch.zeros(len(clip.frames), dtype=torch.bool))
        if self.first_only:
            supervised = torch.zeros(len(clip.frames), dtype=torch.bool)
            supervised[0] = True
            clip = replace(clip, supervised=supervised)
        if self.flip and torch.rand((), generator=_generator(self.seed, epoch, index)) < self.flip:
            clip = replace(clip, mirrored=True)
        return clip

    def _other_sound(self, epoch: int, index: int) -> dict[str, Any]:
        """The fields of the clip that carry its sound, under another condition."""
        if self.source == "silent":
            return {"waveform": torch.zeros(0), "audio": None}
        # One derangement of the whole data set for every seed and epoch.
        other = sound_only(self.clips, derangement(len(self), _seed_of(self.seed, epoch))[index])
        fields = ("waveform", "sample_rate", "hop_seconds", "start_seconds", "audio", "audio_kind")
        return {name: getattr(other, name) for name in fields}


class EpochSampler(Sampler[tuple[int, int]]):
    """A new order every epoch, decided by seed and epoch alone.

    A last, smaller batch is left out: every epoch reshuffles, and BatchNorm dislikes a batch of one clip. Of several
    processes each gets its share of every batch, so that together they see what one process would.
    `batch_size` counts the clips of all processes together; an epoch has a multiple of `accumulate` batches.
    """

    def __init__(
        self,
        length: int,
        seed: int,
        batch_size: int = 1,
        *,
        rank: int = 0,
        processes: int = 1,
        accumulate: int = 1,
    ) -> None:
        self.length, self.seed, self.batch_size = length, seed, batch_size
        self.batches = length // (batch_size * accumulate) * accumulate
        self.rank, self.share = rank, batch_size // processes
        self.epoch, self.skipped = 0, 0

    def set_epoch(self, epoch: int, skipped: int | None = None) -> None:
        """Go to an epoch; `skipped` leaves out clips already seen before a stop (None: as they are, 0 when new)."""
        if skipped is not None or epoch != self.epoch:
            self.epoch, self.skipped = epoch, skipped or 0

    def __len__(self) -> int:
        return self.batches * self.share

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, skipped = self.epoch, self.skipped
        order = torch.randperm(self.length, generator=_generator(self.seed, epoch)).tolist()
        for batch in range(skipped, self.batches * self.batch_size, self.batch_size):
            start = batch + self.rank * self.share
            yield from ((epoch, index) for index in order[start : start + self.share])


class DistributedSequentialSampler(Sampler[tuple[int, int]]):
    """The clips in the data set's order, as of epoch 0; several processes take turns.

    All processes get equally many, for they wait for each other; places beyond the end stand for clips that come again.
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
        preprocessor: Prepares clips for the model.
        train: Training clips; None builds what the configuration names.
        val: Validation clips, likewise.

    Attributes:
        features: The frozen backbone's maps, once the module has had them computed.
    """

    def __init__(
        self,
        config: Config,
        preprocessor: ClipPreprocessor,
        train: ClipSource | None = None,
        val: ClipSource | None = None,
    ) -> None:
        super().__init__()
        if train is None or val is None:
            train, val = build_datasets(config)
        for clips, key in ((train, "training"), (val, "validation")):
            if len(clips) == 0:
                raise UserError(
                    f"there are no {key} clips in {config.data.root or config.data.name}"
                )
        for clips in (train, val):
            if config.train.cache_features and hasattr(clips, "keep_frames"):
                clips.keep_frames = True
        data, source = config.data, config.model.audio.source
        self.config = config
        self.features: FeatureCache | None = None
        self._pinned = torch.cuda.is_available() and config.train.device in ("auto", "cuda")
        # Clips given to `train` may have labels without names for them.
        self.class_names: tuple[str, ...] = (
            getattr(train, "class_names", ()) if config.model.num_classes > 1 else ()
        )
        self.train_clips = EpochClips(
            train,
            preprocessor,
            seed=config.train.seed,
            flip=data.horizontal_flip,
            first_only=data.supervised == "first",
            source=source,
        )
        self.val_clips = EpochClips(val, preprocessor, seed=config.train.seed, source=source)
        processes = config.train.devices * config.train.num_nodes
        if len(train) < processes:
            raise UserError(
                f"{processes} processes are more than the {len(train)} training clips: lower train.devices"
            )
        self.share = min(config.train.batch_size, len(train)) // processes
        self.batch_size = self.share * processes
        # A step needs whole batches: clips that do not fill one more step wait for another epoch's order.
        accumulated = min(config.train.accumulate, len(train) // self.batch_size)
        self.steps_per_epoch = len(train) // (self.batch_size * accumulated)
        self.accumulate = accumulated
        self.sampler = EpochSampler(
            len(train),
            config.train.seed,
            self.batch_size,
            processes=processes,
            accumulate=accumulated,
        )
        self.val_sampler = DistributedSequentialSampler(len(val), processes=processes)

    def setup(self, stage: str) -> None:
        """Learn which of the processes this is."""
        if self.trainer is not None:
            self.sampler.rank = self.val_sampler.rank = self.trainer.global_rank

    def train_dataloader(self) -> DataLoader[AVClip]:
        """Batches of `AVBatch` in this epoch's order."""
        return self._loader(self.train_clips, self.sampler)

    def val_dataloader(self) -> DataLoader[AVClip]:
        """The validation clips, in the order of the data set."""
        return self._loader(self.val_clips, self.val_sampler)

    def on_before_batch_transfer(self, batch: AVBatch, dataloader_idx: int) -> AVBatch:
        """With the backbone's maps, where they are known: they go to the device with the rest of the batch."""
        if self.features is None:
            return batch
        return replace(batch, features=self.features.halves(batch.names, pinned=self._pinned))

    def on_after_batch_transfer(self, batch: AVBatch, dataloader_idx: int) -> AVBatch:
        """The batch as the model takes it, made on the device that it has been moved to."""
        return finish(batch, self.val_clips.preprocessor)

    def resume_at(self, step: int) -> None:
        """Let the next training batch be the one after `step` steps of the run."""
        epoch, steps = divmod(step, self.steps_per_epoch)
        self.sampler.set_epoch(epoch, skipped=steps * self.accumulate * self.batch_size)

    def _loader(
        self, clips: EpochClips, sampler: EpochSampler | DistributedSequentialSampler
    ) -> DataLoader[AVClip]:
        workers = self.config.data.workers
        return DataLoader(
            clips,
            batch_size=self.share,
            sampler=sampler,
            num_workers=workers,
            collate_fn=collate_small,
            worker_init_fn=_quiet_worker,
            persistent_workers=workers > 0 and isinstance(sampler, EpochSampler),
            pin_memory=self._pinned,
            prefetch_factor=4 if workers else None,
            # Its own generator: starting an iterator must not draw from the generator that latents are sampled by.
            generator=torch.Generator(),
        )


def _quiet_worker(_: int) -> None:
    """Leave Ctrl-C and SIGTERM to the main process, which stops its workers itself once the checkpoint is saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _seed_of(*numbers: int) -> int:
    """A seed of its own for every tuple of small numbers."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 0x9E3779B9) % (2**63 - 1)
    return seed


def _generator(*numbers: int) -> torch.Generator:
    """A generator of its own for every tuple of small numbers."""
    return torch.Generator().manual_seed(_seed_of(*numbers))


def seed_everything(seed: int, epoch: int) -> None:
    """Start Python's, NumPy's and torch's generators afresh for one epoch of one seed."""
    derived = int(torch.randint(2**31 - 1, (), generator=_generator(seed, epoch)))
    lightning.seed_everything(derived, verbose=False)
