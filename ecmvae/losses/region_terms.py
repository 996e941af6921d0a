"""The terms of models that decide by regions (`ecmvae.models.regions`); none of them is in the paper."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import functional as F

from ecmvae.config import Config
from ecmvae.errors import UserError
from ecmvae.losses.base import LossInputs, LossTerm
from ecmvae.losses.segmentation import structure_loss
from ecmvae.models.regions import same_region
from ecmvae.visual.classifier import SAVED_TABLE, code_names

_MOST_OBJECTS = 8  # of a frame, in `Correspondence` and `Names`


class Outlines(LossTerm):
    """Structure loss of the outlines of all things; not in the paper."""

    name = "outlines"
    needs = ("regions",)

    def forward(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """Mean over the frames."""
        regions, objects = inputs.output.prior_branch.regions, inputs.objects
        assert regions is not None
        assert objects is not None
        things = (objects > 0).unsqueeze(1).to(inputs.masks.dtype)
        return structure_loss(inputs.real(regions.outlines), inputs.real(things)).mean()


class SameRegion(LossTerm):
    """Binary cross-entropy of whether two cells belong to one thing; not in the paper.

    Cells count that show one thing alone. Pairs of one thing and pairs of two weigh the same.
    """

    name = "regions"
    needs = ("regions",)

    def forward(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """Mean over the pairs, in nats; 0 where no cell shows one thing alone."""
        regions, objects = inputs.output.prior_branch.regions, inputs.objects
        assert regions is not None
        assert objects is not None
        size = (regions.embeddings.shape[2], regions.embeddings.shape[3])
        index = objects.unsqueeze(1).float()
        highest, lowest = F.adaptive_max_pool2d(index, size), -F.adaptive_max_pool2d(-index, size)
        pure = torch.where(highest == lowest, highest, 0.0).flatten(1)
        counted = (pure > 0).unsqueeze(2) & (pure > 0).unsqueeze(1)
        same = pure.unsqueeze(2) == pure.unsqueeze(1)
        together = same_region(regions.embeddings.float()).clamp(1e-5, 1 - 1e-5)
        joined, apart = counted & same, counted & ~same
        return (
            _mean_where(joined, -together.log()) + _mean_where(apart, -torch.log1p(-together))
        ) / 2


class Correspondence(LossTerm):
    """Whether an object sounds, for each pair of an object and a sound of the batch: a sigmoid loss, not in the paper.

    Under its own sound an object sounds where it is marked. Under the sounds of other clips it is silent, which a few
    clips that share a class contradict. Without this term a code of c is held down only when something of that code is
    silent in the same frame, and many codes stay high that do not sound. Audio-visual correspondence: Arandjelovic and
    Zisserman, arXiv 1705.08168; a sigmoid for each pair: Zhai et al., arXiv 2303.15343.
    """

    name = "correspondence"
    needs = ("regions",)

    def forward(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """Mean over the pairs of one frame plus that over pairs of two clips, in nats; 0 without objects."""
        branch, objects = inputs.output.prior_branch, inputs.objects
        assert branch.regions is not None
        assert branch.sounding is not None
        assert objects is not None
        names = branch.regions.names.float()
        cells = _cells_of_objects(objects, names)
        area = cells.sum((2, 3))
        marked = (cells * _at_cells(inputs.masks, names)).sum((2, 3)) / area.clamp_min(1)
        with torch.autocast(names.device.type, enabled=False):  # in 16 bits 1 - 1e-6 is 1
            named = torch.einsum("nkhw,nohw->nok", names.exp(), cells)
            named = named[..., :-1] / area.clamp_min(1)[..., None]
            # (sound's frame, object's frame, object)
            sounds = torch.einsum("ml,nol->mno", branch.sounding.float().exp(), named)
            sounds = sounds.clamp(1e-6, 1 - 1e-6)
        real = inputs.valid if inputs.valid is not None else torch.ones_like(inputs.supervised)
        visible = (area > 0) & real[:, None]
        own = torch.diagonal(sounds).T
        at_once = F.binary_cross_entropy(own, (marked > 0.5).to(own.dtype), reduction="none")
        elsewhere = inputs.clips[:, None] != inputs.clips
        apart = (elsewhere & real[:, None])[..., None] & visible
        return _mean_where(visible & inputs.supervised[:, None], at_once) + _mean_where(
            apart, -torch.log1p(-sounds)
        )


class _OfClasses(LossTerm):
    """A term that knows which class each code is named after, from the first code on."""

    def __init__(self, weight: float, codes: Sequence[str]) -> None:
        super().__init__(weight)
        self._codes = {code: number for number, code in enumerate(codes)}

    @classmethod
    def from_config(cls, weight: float, config: Config) -> Sequence[LossTerm]:
        """Its codes are those of ``model.fusion.table``."""
        return [cls(weight, _codes(cls.name, config))]


class Names(_OfClasses):
    """Cross-entropy of the class of each object, which the cells that show it are called; not in the paper.

    The mask losses alone leave the names at what separates the sounds of the training clips: classes that sound apart
    may share a code as long as they are never seen together. An object of no class is "none of these"; one whose class
    no code is named after does not count.

    Args:
        weight: Factor in the total.
        codes: What the codes are called, from the first on.
    """

    name = "names"
    needs = ("regions", "names")

    def forward(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """Mean over the objects of all frames, each the mean over its cells, in nats; 0 without objects."""
        branch, objects = inputs.output.prior_branch, inputs.objects
        assert branch.regions is not None
        assert objects is not None
        assert inputs.classes is not None
        names = branch.regions.names.float()
        cells = _cells_of_objects(objects, names)
        area = cells.sum((2, 3))
        codes = [self._numbers(each, names.shape[1] - 1) for each in inputs.classes]
        numbers = _sent(np.array(codes), names.device)[inputs.clips]
        named = torch.einsum("nkhw,nohw->nok", names, cells) / area.clamp_min(1)[..., None]
        wrong = -named.gather(2, numbers.clamp_min(0)[..., None])[..., 0]
        real = inputs.valid if inputs.valid is not None else torch.ones_like(inputs.supervised)
        return _mean_where((area > 0) & (numbers >= 0) & real[:, None], wrong)

    def _numbers(self, classes: Sequence[str], none: int) -> list[int]:
        """The code of each object, -1 where there is none for it."""
        found = [self._codes.get(each, -1) if each else none for each in classes[:_MOST_OBJECTS]]
        return found + [-1] * (_MOST_OBJECTS - len(found))


class Sounds(_OfClasses):
    """Binary cross-entropy of which classes sound in a frame, for each code that is named after one; not in the paper.

    Args:
        weight: Factor in the total.
        codes: What the codes are called, from the first on.
    """

    name = "sounds"
    needs = ("sounds",)

    def forward(self, inputs: LossInputs) -> Float[Tensor, ""]:
        """Sum over the codes, mean over the frames, in nats."""
        sounding = inputs.output.prior_branch.sounding
        assert sounding is not None
        assert inputs.heard is not None
        frames = [frame for clip in inputs.heard for frame in clip]
        heard = np.array([[code in frame for code in self._codes] for frame in frames], np.float32)
        with torch.autocast(sounding.device.type, enabled=False):  # in 16 bits 1 - 1e-6 is 1
            probability = sounding[:, : len(self._codes)].float().exp().clamp(1e-6, 1 - 1e-6)
            wrong = F.binary_cross_entropy(
                probability, _sent(heard, sounding.device), reduction="none"
            )
        return inputs.real(wrong.sum(1)).mean()


def _codes(term: str, config: Config) -> tuple[str, ...]:
    table = config.model.fusion.table
    if table is None or table == SAVED_TABLE:
        raise UserError(
            f"loss.{term} needs to know which class each code stands for: set model.fusion.table"
        )
    return code_names(table)


def _sent(numbers: np.ndarray, device: torch.device) -> Tensor:
    """The numbers on a device, which need not be waited for: so few are staged at once."""
    return torch.from_numpy(numbers).to(device, non_blocking=True)


def _cells_of_objects(
    objects: Int[Tensor, "n hh ww"], names: Float[Tensor, "n k h w"]
) -> Float[Tensor, "n o h w"]:
    """Which cells of the names show object 1, 2, ... of each frame, in {0, 1}."""
    indices = torch.arange(1, _MOST_OBJECTS + 1, device=objects.device)
    return (_at_cells(objects.unsqueeze(1), names) == indices[:, None, None]).to(names.dtype)


def _at_cells(maps: Shaped[Tensor, "n 1 hh ww"], cells: Float[Tensor, "n k h w"]) -> Tensor:
    """The values at the centres of the cells, (N, 1, h, w)."""
    return F.interpolate(maps.float(), size=cells.shape[2:], mode="nearest-exact")


def _mean_where(chosen: Bool[Tensor, "..."], values: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """Mean of the chosen values, 0 where there is none; unlike with an index, no number of values is waited for."""
    return values.masked_fill(~chosen, 0).sum() / chosen.sum().clamp_min(1)
