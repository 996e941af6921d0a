"""Maps of a frozen backbone, computed once per clip: on a CPU this is most of a training step.

The scene of a clip stays the same from epoch to epoch while its sound changes, so its maps may be kept, as float16
(about 0.5 MB for a clip of five frames at 128 pixels): in memory for one run, or in a folder (`FeatureStore`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ecmvae.data.clips import ClipSource
from ecmvae.data.packed_shards import checksum
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.files import replace_bytes, show_path, write_json
from ecmvae.models import Segmenter
from ecmvae.training.progress import progress_bar
from ecmvae.visual.normalisation import Normalisation

logger = logging.getLogger(__name__)

CLIPS_AT_ONCE = 4
"""Clips whose maps are computed together, always the same four: their last bits may depend on each other."""

_FORMAT = "ecmvae features 1: float16"

Maps = tuple[Tensor, ...]


class MemoryStore(dict[str, Maps]):
    """Maps of one run, by the clips' names."""

    def key(self, name: str, frames: Tensor, valid: Tensor | None) -> str:
        """The name."""
        return name


class FeatureStore:
    """Maps in a folder, for many processes and runs: a file for each clip, by the bytes of its frames.

    What else the maps depend on (the backbone's weights, its normalisation, the image size) makes the name of the
    folder inside `root`, so maps of other weights are never taken for these. Files appear whole or not at all, equal
    ones over each other: processes need no lock to fill the folder together. They are mapped into memory, and compared
    with their checksums when they are first read.

    Args:
        root: Folder of the features of all models; made where it is missing.
        model: The model whose backbone makes the maps.
    """

    def __init__(self, root: str | Path, model: Segmenter) -> None:
        about = {
            "format": _FORMAT,
            "backbone": f"{type(model.backbone).__module__}.{type(model.backbone).__qualname__}",
            "weights": weights_digest(model.frozen_parts),
            "normalisation": model.normalisation.to_dict(),
            "image_size": model.image_size,
            **({"form": model.frozen_form} if model.frozen_form else {}),
        }
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = Path(root) / f"features-{digest}"
        self._channels = model.frozen_channels
        others = [each for each in Path(root).glob("features-*") if each != self.folder]
        if others and not self.folder.is_dir():
            logger.warning(
                "%s: features of %d other weights or sizes are ignored, those of this backbone are computed",
                show_path(Path(root)),
                len(others),
            )
        if not (self.folder / "about.json").is_file():
            write_json(self.folder / "about.json", about)
        self._checked: set[str] = set()

    def key(self, name: str, frames: Tensor, valid: Tensor | None) -> str:
        """A digest of the frames."""
        digest = hashlib.blake2b(f"{frames.dtype} {tuple(frames.shape)}".encode(), digest_size=16)
        for each in (frames, valid):
            if each is not None:
                digest.update(each.contiguous().numpy().data)
        return digest.hexdigest()

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_file()

    def __getitem__(self, key: str) -> Maps | None:
        """Maps of a clip, finest first, each (T, C, h, w) float16; None where they are missing or damaged."""
        path = self._path(key)
        try:
            file: Any = safe_open(path, "pt")
            maps = tuple(file.get_tensor(str(scale)) for scale in range(len(self._channels)))
            whole = all(
                each.dtype == torch.float16 and each.ndim == 4 and each.shape[1] == channels
                for each, channels in zip(maps, self._channels, strict=True)
            )
            if key not in self._checked:
                whole = whole and (file.metadata() or {}).get("checksums") == _checksums(maps)
        except (OSError, SafetensorError):
            whole = False
        if not whole:
            logger.warning("%s is damaged: these features are computed again", show_path(path))
            path.unlink(missing_ok=True)
            return None
        self._checked.add(key)
        return maps

    def __setitem__(self, key: str, maps: Maps) -> None:
        content = save(
            {str(scale): each for scale, each in enumerate(maps)}, {"checksums": _checksums(maps)}
        )
        replace_bytes(self._path(key), content)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"


Store = MemoryStore | FeatureStore


class FeatureCache:
    """Feature maps by clip name.

    Args:
        model: The model whose `extract_features` is remembered; its backbone must be frozen.
        folder: Where maps are kept for other processes and runs; None = in memory.

    Raises:
        ValueError: When the model's backbone is being trained.
    """

    def __init__(self, model: Segmenter, folder: str | Path | None = None) -> None:
        if any(parameter.requires_grad for parameter in model.backbone.parameters()):
            raise ValueError(
                "only a frozen backbone's features can be cached: set model.visual.frozen: true"
            )
        self._model = model
        self._store: Store = MemoryStore() if folder is None else FeatureStore(folder, model)
        self._keys: dict[str, str] = {}
        self._chunks: dict[str, tuple[_Chunks, int]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def fill(
        self,
        clips: ClipSource,
        *,
        device: torch.device | str = "cpu",
        workers: int = 0,
        label: str = "",
        start: float | None = None,
    ) -> None:
        """Compute the maps of all clips that are not there yet on `device`, with a bar that calls them `label`.

        Args:
            clips: The data set.
            device: Where the backbone runs.
            workers: Processes that read clips.
            label: In the progress bar.
            start: Share of the clips, in [0, 1), after which to begin; so processes that fill a folder together each
                begin somewhere else, and find done what the others have done. None = anywhere.
        """
        chunks = _Chunks(clips, self._store, self._model.normalisation)
        # A data set that keeps the scenes it drew must draw them here, before the workers of training are forked.
        workers = 0 if getattr(clips, "keep_frames", False) else workers
        shared = isinstance(self._store, FeatureStore)
        begin = int(
            len(chunks) * (start if start is not None else random.SystemRandom().random() * shared)
        )
        order = [*range(begin, len(chunks)), *range(begin)]
        loader = DataLoader(chunks, batch_size=None, sampler=order, num_workers=workers)  # type: ignore[arg-type]
        with (
            _fast(self._model.backbone, device),
            progress_bar(f"features of {label or 'clips'}", total=len(clips)) as advance,
        ):
            for number, (names, keys, frames) in zip(order, loader, strict=True):
                if frames is not None and not all(key in self._store for key in keys):
                    self._keep(keys, frames.to(device))
                self._keys |= dict(zip(names, keys, strict=True))
                self._chunks |= dict.fromkeys(names, (chunks, number))
                advance(len(names))

    def lookup(self, names: Sequence[str], device: torch.device | str = "cpu") -> Maps:
        """Maps of these clips, finest first, each (B, T, C, h, w) float32 on `device`."""
        rows = [self._row(name) for name in names]
        # Widened before they are stacked: under autocast a CPU cannot stack float16.
        return tuple(
            torch.stack([each.float() for each in scale]).to(device)
            for scale in zip(*rows, strict=True)
        )

    def halves(self, names: Sequence[str], *, pinned: bool = False) -> Maps:
        """The same as float16 on the CPU, in page-locked memory if wanted: so they can travel to a GPU meanwhile."""
        maps = (torch.stack(scale) for scale in zip(*map(self._row, names), strict=True))
        return tuple(each.pin_memory() if pinned else each for each in maps)

    def _row(self, name: str) -> Maps:
        key = self._keys[name]
        maps = self._store[key]
        if maps is None:
            chunks, number = self._chunks[name]
            device = next(self._model.backbone.parameters()).device
            with _fast(self._model.backbone, device):
                _, keys, frames = chunks.read(number)
                assert frames is not None
                self._keep(keys, frames.to(device))
            maps = self._store[key]
            assert maps is not None
        return maps

    @torch.no_grad()
    def _keep(self, keys: Sequence[str], frames: Float[Tensor, "b t 3 h w"]) -> None:
        clips, length = frames.shape[:2]
        flat = frames.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        maps = [
            rearrange(each.to("cpu", torch.float16), "(b t) c h w -> b t c h w", b=clips, t=length)
            for each in self._model.frozen_features(flat)
        ]
        for row, key in enumerate(keys):
            self._store[key] = tuple(each[row].contiguous() for each in maps)


class _Chunks(Dataset[tuple[list[str], list[str], Tensor | None]]):
    """A few clips at a time: their names, their keys and, unless their maps are known, their normalised frames.

    Where a data set can draw a scene without its sound, the sound is not made.
    """

    def __init__(self, clips: ClipSource, store: Store, normalisation: Normalisation) -> None:
        self.clips, self.store, self.prepare = (
            clips,
            store,
            ClipPreprocessor(None, normalisation).pictures,
        )

    def __len__(self) -> int:
        return -(-len(self.clips) // CLIPS_AT_ONCE)

    def __getitem__(self, number: int) -> tuple[list[str], list[str], Tensor | None]:
        return self.read(number, unless_known=True)

    def read(
        self, number: int, *, unless_known: bool = False
    ) -> tuple[list[str], list[str], Tensor | None]:
        """Chunk `number`; its frames are None where they are wanted only `unless_known` and all maps are there."""
        names, pictures = zip(*self._read(number), strict=True)
        keys = [self.store.key(name, *each) for name, each in zip(names, pictures, strict=True)]
        known = unless_known and all(key in self.store for key in keys)
        return (
            [*names],
            keys,
            None if known else torch.stack([self.prepare(*each) for each in pictures]),
        )

    def _read(self, number: int) -> Iterator[tuple[str, tuple[Tensor, Tensor | None]]]:
        draw, name = getattr(self.clips, "frames", None), getattr(self.clips, "name", None)
        for index in range(
            CLIPS_AT_ONCE * number, min(CLIPS_AT_ONCE * (number + 1), len(self.clips))
        ):
            if draw is not None and name is not None:
                yield (
                    name(index),
                    (rearrange(torch.from_numpy(draw(index)[0]), "t h w c -> t c h w"), None),
                )
            else:
                clip = self.clips[index]
                yield clip.name, (clip.frames, clip.valid)


@contextmanager
def _fast(backbone: nn.Module, device: torch.device | str) -> Iterator[None]:
    """The backbone on a device, in channels-last memory: there depthwise convolutions are more than twice as fast."""
    backbone.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        yield
    finally:
        backbone.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def weights_digest(module: nn.Module) -> str:
    """SHA-256 of the names, types, shapes and numbers of a module's weights that are not being trained."""
    digest = hashlib.sha256()
    trained = {name for name, each in module.named_parameters() if each.requires_grad}
    for name, each in sorted(module.state_dict().items()):
        if name in trained:
            continue
        values = each.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _checksums(maps: Maps) -> str:
    return " ".join(str(checksum(each)) for each in maps)
