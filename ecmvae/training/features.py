"""Maps of a frozen backbone, computed once per clip: on a CPU this is most of a training step.

The scene of a clip stays the same from epoch to epoch while its sound changes, so its maps may be kept. They lie in
memory as float16 (about 0.5 MB for a clip of five frames at 128 pixels) and are looked up by the clips' names.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ecmvae.data.clips import ClipSource
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.models import Segmenter
from ecmvae.training.progress import progress_bar
from ecmvae.visual.normalisation import Normalisation


class FeatureCache:
    """Feature maps by clip name.

    Args:
        model: The model whose `extract_features` is remembered; its backbone must be frozen.

    Raises:
        ValueError: When the model's backbone is being trained.
    """

    def __init__(self, model: Segmenter) -> None:
        if any(parameter.requires_grad for parameter in model.backbone.parameters()):
            raise ValueError("only a frozen backbone's features can be cached: set model.visual.frozen: true")
        self._model = model
        self._maps: dict[str, tuple[Tensor, ...]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._maps

    def __len__(self) -> int:
        return len(self._maps)

    @torch.no_grad()
    def fill(self, clips: ClipSource, *, device: torch.device | str = "cpu", workers: int = 0, label: str = "") -> None:
        """Compute the maps of all clips that are not there yet on `device`, with a bar that calls them `label`."""
        backbone = self._model.backbone
        # EfficientNet's depthwise convolutions are more than twice as fast on channels-last memory.
        backbone.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        pictures = _Pictures(clips, self._model.normalisation)
        # A data set that keeps the scenes it drew must draw them here, before the workers of training are forked.
        workers = 0 if getattr(clips, "keep_frames", False) else workers
        loader = DataLoader(pictures, batch_size=4, num_workers=workers, collate_fn=_stack_pictures)
        with progress_bar(f"features of {label or 'clips'}", total=len(pictures)) as advance:
            for names, frames in loader:
                if any(name not in self for name in names):
                    self._keep(names, frames.to(device))
                advance(len(names))
        backbone.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def lookup(self, names: Sequence[str], device: torch.device | str = "cpu") -> tuple[Tensor, ...]:
        """Maps of these clips, finest first, each (B, T, C, h, w) float32 on `device`."""
        rows = [self._maps[name] for name in names]
        # Widened before they are stacked: under autocast a CPU cannot stack float16.
        return tuple(torch.stack([each.float() for each in scale]).to(device) for scale in zip(*rows, strict=True))

    def _keep(self, names: Sequence[str], frames: Float[Tensor, "b t 3 h w"]) -> None:
        clips, length = frames.shape[:2]
        flat = frames.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        maps = [each.to("cpu", torch.float16).unflatten(0, (clips, length)) for each in self._model.backbone(flat)]
        for row, name in enumerate(names):
            self._maps[name] = tuple(each[row].contiguous() for each in maps)


class _Pictures(Dataset[tuple[str, Tensor]]):
    """Names and frames only; where a data set can draw a scene without its sound, the sound is not made."""

    def __init__(self, clips: ClipSource, normalisation: Normalisation) -> None:
        self.clips, self.normalisation = clips, normalisation

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[str, Tensor]:
        draw, name = getattr(self.clips, "frames", None), getattr(self.clips, "name", None)
        if draw is not None and name is not None:
            frames = rearrange(torch.from_numpy(draw(index)[0]), "t h w c -> t c h w")
            return name(index), self.normalisation(frames)
        clip = ClipPreprocessor(None, self.normalisation)(self.clips[index])
        return clip.name, clip.frames


def _stack_pictures(pictures: Sequence[tuple[str, Tensor]]) -> tuple[list[str], Tensor]:
    return [name for name, _ in pictures], torch.stack([frames for _, frames in pictures])
