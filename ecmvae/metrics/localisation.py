"""How sound localisation is scored: cIoU of a map that is cut at its median, its AUC, and the interactive IoU.

cIoU and AUC: Senocak et al., CVPR 2018 (arXiv:1803.03849), as the code of "Localizing visual sounds the hard way" (Chen
et al., CVPR 2021) computes them for VGG-SS: the upper half of the pixels is the prediction, whatever their values; so a
model cannot answer "nothing", and a map needs no calibration. The adaptive form cuts where as many pixels are left as
are true ones: it uses the answer. IIoU and IAUC: Senocak et al., ICCV 2023 (arXiv:2309.10724), for pictures that come
with several sounds: a picture counts when it is right for every one of them.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from ecmvae.errors import UserError
from ecmvae.metrics.clip_sums import ClipMetric

STEPS = 21
"""Thresholds of the AUC: 0, 0.05 ... 1."""


class LocalisationScores(NamedTuple):
    """Fractions over the frames that have ground truth.

    Attributes:
        ciou: Share of frames with a cIoU of at least 0.5 (cIoU@0.5).
        auc: Area under the share of frames with a cIoU of at least x.
        mean_ciou: Mean cIoU.
        ciou_adaptive, auc_adaptive: The same of maps cut at as many pixels as are true.
    """

    ciou: float
    auc: float
    mean_ciou: float
    ciou_adaptive: float
    auc_adaptive: float


class InteractiveScores(NamedTuple):
    """Fractions over pictures: right for all their sounds at 0.5, the area under that curve, and adaptive forms."""

    iiou: float
    iauc: float
    iiou_adaptive: float
    iauc_adaptive: float


def ciou(
    maps: Float[Tensor, "n h w"],
    truth: Shaped[Tensor, "n h w"],
    *,
    adaptive: bool = False,
    inclusive: bool = False,
) -> Float[Tensor, " n"]:
    """The cIoU of each frame: marked true pixels over true pixels and marked false ones.

    Args:
        maps: (n, H, W) in any unit; only their order counts. Marked is what lies above the value in the middle of the
            sorted pixels (the upper one of two).
        truth: (n, H, W), 0 where nothing sounds; a weight in (0, 1] where annotators agree in part.
        adaptive: Cut instead at the value that has as many pixels from it on as are true, or at the middle without any.
        inclusive: Mark the pixels at that value, too, as the code of the extended sets does.

    Example:
        >>> ciou(torch.tensor([[[4.0, 3.0], [2.0, 1.0]]]), torch.tensor([[[1, 0], [0, 0]]]), inclusive=True).item()
        0.5
    """
    values, weights = maps.flatten(1), truth.flatten(1).double()
    pixels = values.shape[1]
    true = (weights != 0).sum(dim=1)
    place = torch.full_like(true, pixels // 2)
    if adaptive:
        place = torch.where(true > 0, pixels - true, place)
    cut = values.sort(dim=1).values.gather(1, place[:, None])
    above = values >= cut if inclusive else values > cut
    hits = (weights * above).sum(dim=1)
    return hits / (weights.sum(dim=1) + (above & (weights == 0)).sum(dim=1)).clamp(min=1e-12)


def success_curve(values: Float[Tensor, " n"]) -> Float[Tensor, "n 21"]:
    """Whether each value is at least 0, 0.05 ... 1, as 0 and 1."""
    steps = 0.05 * torch.arange(STEPS, dtype=torch.float64, device=values.device)
    return (values.double()[:, None] >= steps).double()


def area(curve: Float[Tensor, "21"]) -> float:
    """Area under a curve over 0, 0.05 ... 1, by trapezoids."""
    return float(torch.trapezoid(curve, dx=0.05))


class Localisation(ClipMetric):
    """`LocalisationScores` of maps; frames without ground truth are left out."""

    name, label = "localisation", "localisation"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(2 + 2 * STEPS, **kwargs)

    def update(
        self,
        logits: Float[Tensor, "b t 1 h w"],
        masks: Shaped[Tensor, "b t 1 h w"],
        index: Int[Tensor, " b"],
        valid: Bool[Tensor, "b t"] | None = None,
    ) -> None:
        """Add clips by their places in the data set; the masks may be painted boxes."""
        maps, truth = logits[:, :, 0].flatten(0, 1), masks[:, :, 0].flatten(0, 1)
        scored = (truth != 0).flatten(1).any(dim=1)
        if valid is not None:
            scored &= valid.flatten()
        plain, adapted = ciou(maps, truth), ciou(maps, truth, adaptive=True)
        columns = [
            torch.ones_like(plain)[:, None],
            plain[:, None],
            success_curve(plain),
            success_curve(adapted),
        ]
        rows = torch.cat(columns, dim=1) * scored[:, None]
        self._keep(index, rows.reshape(*logits.shape[:2], -1).sum(dim=1))

    def compute(self) -> LocalisationScores:
        """Scores of all clips seen; NaN where no frame has ground truth."""
        sums = self._rows().double().sum(dim=0)
        means = sums[1:] / sums[0]
        plain, adapted = means[1 : 1 + STEPS], means[1 + STEPS :]
        return LocalisationScores(
            float(plain[10]), area(plain), float(means[0]), float(adapted[10]), area(adapted)
        )


class InteractiveIoU(ClipMetric):
    """`InteractiveScores` of single pictures that are given several sounds; `pictures` says which clips share one."""

    name, label = "interactive", "interactive"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(5, **kwargs)

    def update(
        self,
        logits: Float[Tensor, "b t 1 h w"],
        masks: Shaped[Tensor, "b t 1 h w"],
        pictures: tuple[str, ...],
        index: Int[Tensor, " b"],
    ) -> None:
        """Add clips of one frame.

        Raises:
            UserError: If clips have more than one.
        """
        maps, truth = stills(logits, self.name), stills(masks, self.name)
        keys = torch.tensor(
            [_key(picture) for picture in pictures], dtype=torch.float64, device=maps.device
        )
        scores = torch.stack([ciou(maps, truth), ciou(maps, truth, adaptive=True)], dim=1)
        self._keep(index, torch.cat([keys, scores], dim=1))

    def compute(self) -> InteractiveScores:
        """Scores of all pictures seen."""
        rows = self._rows().double()
        _, group = torch.unique(rows[:, :3], dim=0, return_inverse=True)
        worst = torch.full((int(group.max()) + 1, 2), torch.inf, dtype=torch.float64)
        worst = worst.scatter_reduce(0, group[:, None].expand(-1, 2), rows[:, 3:], "amin")
        curves = [success_curve(column).mean(dim=0) for column in worst.T]
        return InteractiveScores(
            float(curves[0][10]), area(curves[0]), float(curves[1][10]), area(curves[1])
        )


def stills(frames: Shaped[Tensor, "b t 1 h w"], metric: str) -> Shaped[Tensor, "b h w"]:
    """The frames of clips that have one each.

    Raises:
        UserError: If they have more.
    """
    if frames.shape[1] != 1:
        raise UserError(
            f"the metric {metric} scores single pictures, not clips of {frames.shape[1]} frames: leave it out"
        )
    return frames[:, 0, 0]


def _key(name: str) -> list[int]:
    """Three numbers of 16 bits that stand for a name, exact in float32."""
    digest = hashlib.sha256(name.encode()).digest()
    return [int.from_bytes(digest[k : k + 2], "big") for k in (0, 2, 4)]
