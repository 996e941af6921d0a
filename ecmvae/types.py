"""Typed clips and batches: what travels from the data to the model.

Shape letters, used everywhere in ecmvae: **B** clips, **T** frames per clip, **N** = B*T, **C** channels,
**H W** height and width, **L** latent width, **M** mel bins, **K** latent samples. A flattened tensor is
video-major: index ``n = b * T + t``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class FrameSubset:
    """Some of N frames, as a mask and as their numbers: with the numbers known, taking them never waits for a GPU.

    Attributes:
        mask: (N,) bool.
        rows: (n,) int64, where `mask` is True, ascending.
    """

    mask: Tensor
    rows: Tensor

    @classmethod
    def of(cls, mask: Tensor) -> FrameSubset:
        """The frames marked in a mask of any shape; waits for the device that holds it."""
        flat = mask.flatten()
        return cls(flat, flat.nonzero().squeeze(1))

    @classmethod
    def all_of(cls, mask: Tensor) -> FrameSubset:
        """All frames of a mask of any shape, whatever it says."""
        everything = torch.ones_like(mask, dtype=torch.bool).flatten()
        return cls(everything, torch.arange(len(everything), device=mask.device))

    @property
    def whole(self) -> bool:
        """Whether these are all the N frames."""
        return len(self.rows) == len(self.mask)

    def take(self, values: Tensor) -> Tensor:
        """Of N rows those of these frames."""
        return values if self.whole else values.index_select(0, self.rows)


def as_subset(frames: Tensor | FrameSubset) -> FrameSubset:
    """The frames marked in a mask; a `FrameSubset` as it is."""
    return frames if isinstance(frames, FrameSubset) else FrameSubset.of(frames)


@dataclass(frozen=True, kw_only=True)
class AVClip:
    """One clip, as a data set gives it or as `ecmvae.data.preprocess.ClipPreprocessor` prepares it for a model.

    Attributes:
        name: Unique name of the clip inside its data set.
        frames: (T, 3, H, W) uint8 RGB; float32 and normalised once it is prepared.
        waveform: (S,) float32, its sound as one channel in [-1, 1]; None where only features are available.
        sample_rate: Of the waveform, in Hz.
        hop_seconds: Seconds between two frames; frame k stands in the middle of the second that starts at
            ``start_seconds + k * hop_seconds`` of the waveform.
        start_seconds: Where in the waveform the first frame's second starts.
        audio: (T, ...) float32, one row of audio features a frame: cached by the data set, or computed when the clip is
            prepared.
        audio_kind: Name of the front end that computed `audio`.
        masks: (T, 1, H, W) float32 in {0, 1}: 1 where an object sounds; between them only where ``data.mask_rule:
            released`` finds grey in a mask to train on. None when there is no ground truth.
        supervised: (T,) bool, which frames' masks may be used for training (S4 trains on the first only).
        objects: (T, H, W) int64, 0 = background, k = visible pixels of object k, sounding or not; only composed
            data has it. Needed for the floors and for right-of-two.
        sounding: (T, O) bool, which object sounds in which frame; column k-1 belongs to object k.
        classes: Class of object k at place k-1, "" for a thing that never sounds; likewise. Empty where unknown.
        heard: Classes that sound in each of the T frames, whether seen or not; likewise.
        category: Class of the sounding object where a data set names one, else "".
        labels: (T, H, W) int64, class of every pixel, 0 = background; `masks` is where it is another.
        valid: (T,) bool, False where a short clip was padded; of a clip that a loader repeats, nowhere True.
        index: Its place in the data set, where a loader says so; scores count every place once.
        picture: Id of the picture of the object that sounds longest, in a composed clip; else "".
        recording: Id of that object's recording, likewise.
        ignored: (T, H, W) bool, unlabelled pixels; masks and labels are 0 there, and no metric counts them.
        mirrored: Whether pictures, masks, objects and labels are still to be mirrored: a training loader leaves that to
            the device.
    """

    name: str
    frames: Tensor
    waveform: Tensor | None = None
    sample_rate: int = 16_000
    hop_seconds: float = 1.0
    start_seconds: float = 0.0
    audio: Tensor | None = None
    audio_kind: str = ""
    masks: Tensor | None = None
    supervised: Tensor | None = None
    objects: Tensor | None = None
    sounding: Tensor | None = None
    classes: tuple[str, ...] = ()
    heard: tuple[tuple[str, ...], ...] = ()
    category: str = ""
    labels: Tensor | None = None
    valid: Tensor | None = None
    index: int | None = None
    picture: str = ""
    recording: str = ""
    ignored: Tensor | None = None
    mirrored: bool = False


@dataclass(frozen=True, kw_only=True)
class AVBatch:
    """Clips stacked along B; the optional fields are set when every clip has them.

    Attributes:
        names, categories: B strings each.
        classes, heard: B tuples each, as in `AVClip`, or None where a clip's are unknown.
        frames: (B, T, 3, H, W) float32; of a training loader uint8, until it is on the device.
        audio: (B, T, ...) float32, the features of the model's front end; None for a model without an audio encoder.
        masks, supervised, objects, labels, valid, index, ignored: As in `AVClip`, with B in front.
        sounding: (B, T, O) bool padded with False to the batch's largest O, or None.
        features: Cached maps of a frozen backbone, finest first, each (B, T, C, h, w), or None.
        pictures, recordings: B strings each, or None where a clip has none.
        hop_seconds: (B,) float64, seconds between two frames of each clip.
        mirrored: (B,) bool, clips whose pictures and maps are still to be mirrored; None = none of them.
        supervised_rows, valid_rows: (n,) int64, numbers of the N = B*T frames where `supervised` and `valid` are True,
            found by `collate` while they are on the CPU.
    """

    names: tuple[str, ...]
    frames: Tensor
    audio: Tensor | None = None
    masks: Tensor | None = None
    supervised: Tensor | None = None
    objects: Tensor | None = None
    sounding: Tensor | None = None
    categories: tuple[str, ...] = ()
    classes: tuple[tuple[str, ...], ...] | None = None
    heard: tuple[tuple[tuple[str, ...], ...], ...] | None = None
    features: tuple[Tensor, ...] | None = None
    labels: Tensor | None = None
    valid: Tensor | None = None
    index: Tensor | None = None
    pictures: tuple[str, ...] | None = None
    recordings: tuple[str, ...] | None = None
    ignored: Tensor | None = None
    hop_seconds: Tensor | None = None
    mirrored: Tensor | None = None
    supervised_rows: Tensor | None = None
    valid_rows: Tensor | None = None

    @property
    def known(self) -> FrameSubset | None:
        """The frames whose masks may be used; None where the clips do not say."""
        return _subset(self.supervised, self.supervised_rows)

    @property
    def present(self) -> FrameSubset | None:
        """The frames that are not padding; None where the clips do not say."""
        return _subset(self.valid, self.valid_rows)

    @classmethod
    def collate(cls, clips: Sequence[AVClip]) -> AVBatch:
        """Stack clips of equal T, H and W into one batch.

        Raises:
            ValueError: When there is no clip, or when clips differ in T, H or W.
        """
        if not clips:
            raise ValueError("cannot collate an empty list of clips")
        shapes = {clip.frames.shape for clip in clips}
        if len(shapes) > 1:
            raise ValueError(
                f"clips of one batch must agree in frames and size, got {sorted(map(tuple, shapes))}: "
                "set one clip length and data.image_size"
            )
        stacked = (
            "frames",
            "audio",
            "masks",
            "supervised",
            "objects",
            "labels",
            "valid",
            "ignored",
        )
        supervised, valid = (
            _stack([getattr(clip, name) for clip in clips]) for name in ("supervised", "valid")
        )
        mirrored = torch.tensor([clip.mirrored for clip in clips])
        return cls(
            names=tuple(clip.name for clip in clips),
            categories=tuple(clip.category for clip in clips),
            classes=tuple(clip.classes for clip in clips)
            if all(clip.classes for clip in clips)
            else None,
            heard=tuple(clip.heard for clip in clips)
            if all(clip.heard for clip in clips)
            else None,
            pictures=tuple(clip.picture for clip in clips)
            if all(clip.picture for clip in clips)
            else None,
            recordings=tuple(clip.recording for clip in clips)
            if all(clip.recording for clip in clips)
            else None,
            sounding=_stack(_pad_columns([clip.sounding for clip in clips])),
            index=_stack(
                [None if clip.index is None else torch.tensor(clip.index) for clip in clips]
            ),
            hop_seconds=torch.tensor([clip.hop_seconds for clip in clips], dtype=torch.float64),
            mirrored=mirrored if bool(mirrored.any()) else None,
            supervised_rows=None if supervised is None else FrameSubset.of(supervised).rows,
            valid_rows=None if valid is None else FrameSubset.of(valid).rows,
            **{name: _stack([getattr(clip, name) for clip in clips]) for name in stacked},  # type: ignore[arg-type]
        )

    def without_padding(self, values: Tensor) -> Tensor:
        """Values (B, T, ...) of this batch, zero where a clip is padded: sound and maps, as in AVSBench's AVSS."""
        if self.valid is None:
            return values
        return values * self.valid.to(values.device).reshape(
            *self.valid.shape, *[1] * (values.ndim - 2)
        )

    def to(self, device: torch.device | str) -> AVBatch:
        """The same batch with every tensor on `device`; a GPU takes pinned tensors while the CPU goes on."""
        ahead = torch.device(device).type != "cpu"
        return self._map(lambda tensor: tensor.to(device, non_blocking=ahead))

    def pin_memory(self) -> AVBatch:
        """The same batch in page-locked memory; a `DataLoader` with ``pin_memory`` calls this."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> AVBatch:
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {
            name: change(each) for name, each in tensors.items() if isinstance(each, Tensor)
        }
        if self.features is not None:
            changed["features"] = tuple(change(feature) for feature in self.features)
        return replace(self, **changed)


def _subset(mask: Tensor | None, rows: Tensor | None) -> FrameSubset | None:
    if mask is None:
        return None
    return FrameSubset.of(mask) if rows is None else FrameSubset(mask.flatten(), rows)


def _stack(tensors: Sequence[Tensor | None]) -> Tensor | None:
    present = [tensor for tensor in tensors if tensor is not None]
    return torch.stack(present) if len(present) == len(tensors) else None


def _pad_columns(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Pad (T, O) tables with False on the right to the widest O."""
    widest = max((tensor.shape[1] for tensor in tensors if tensor is not None), default=0)
    return [
        None if tensor is None else torch.nn.functional.pad(tensor, (0, widest - tensor.shape[1]))
        for tensor in tensors
    ]
