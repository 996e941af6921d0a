"""What a clip shows, apart from what it sounds like: outlines, regions and what each region may be.

``model.regions`` turns the agreement form of ECMVAE from pixels to regions (`RegionAnswer`):

- *Outlines*: neck and decoder mark every thing, of whatever class, without the audio.
- *Regions*: cells at stride 16 have embeddings; two cells belong together by exp(-squared distance). What is known of a
  cell is averaged over its region, so that a thing is named as a whole.
- *Names*: each region has probabilities over the L codes of c and "none of these". They start from the classifier that
  the backbone was trained with, through a table from its classes to codes, and are corrected by two learned layers.
  On a second look the classifier sees the outlined things alone, without the background.
- *Choice*: entry k of c is the logit that code k sounds. A region sounds with probability sum_k P(code k) sigmoid(c_k);
  a pixel with that probability, sharpened by a learned scale and bias of its logit, times the outline's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ecmvae.models.decoder import FeatureNeck, SegmentationDecoder
from ecmvae.models.fusion import Match
from ecmvae.models.output import Picture, Regions
from ecmvae.visual.classifier import DenseClassifier

SecondLook = Callable[[Tensor], Tensor]

_CELLS = 2  # index of the scale whose cells make regions: stride 16
_EMBEDDING = 16
_FEWEST = 1e-4  # share of a region's cells that lie on something, below which nothing is averaged
_LEAST = -1e-4  # greatest log probability of a mask: the logit stays finite


class Answer(NamedTuple):
    """What a decoder answers under values of the latents.

    Attributes:
        logits: (N, K, H, W).
        fused: Four fused maps, finest first; empty without fusion.
        audio: The audio that each fusion block used.
        matches: See `ecmvae.models.fusion.Match`.
        sounding: (N, L), log-probabilities that each code of c sounds; None without regions.
    """

    logits: Tensor
    fused: tuple[Tensor, ...] = ()
    audio: tuple[Tensor, ...] = ()
    matches: tuple[Match, ...] = ()
    sounding: Tensor | None = None


class RegionAnswer(nn.Module):
    """Outlines, regions and their names from the backbone's maps, and the choice among them by c and s_a.

    Args:
        neck: Backbone maps to maps of C channels.
        decoder: Maps of C channels to one logit per pixel: the outlines.
        widths: Channels of the backbone's maps, finest first.
        channels: C.
        latent_dim: L of c and s_a.
        classifier: The backbone's own classifier, applied to each cell; None = names are learned from nothing.
        table: (L, number of the classifier's classes) in {0, 1}, which of its classes mean code k.
        second_look: Name the regions after a second pass of the backbone, over the outlined things alone.
    """

    def __init__(
        self,
        neck: FeatureNeck,
        decoder: SegmentationDecoder,
        *,
        widths: Sequence[int],
        channels: int,
        latent_dim: int,
        classifier: DenseClassifier | None = None,
        table: Float[Tensor, "l k"] | None = None,
        second_look: bool = False,
    ) -> None:
        super().__init__()
        self.second_look = second_look
        self.neck, self.decoder, self.classifier = neck, decoder, classifier
        self.described = latent_dim + 1
        self.embed = nn.Sequential(
            nn.Conv2d(2 * channels + 2, 2 * channels, 1),
            nn.ReLU(),
            nn.Conv2d(2 * channels, _EMBEDDING, 1),
        )
        width = widths[-1] if classifier is None else classifier.width
        self.dropout = nn.Dropout2d(0.2)
        self.far, self.near = (
            nn.Conv2d(width, latent_dim + 1, 1),
            nn.Conv2d(channels, latent_dim + 1, 1),
        )
        self.trust = nn.Parameter(torch.ones(latent_dim + 1))
        self.besides = nn.Linear(latent_dim, 1)
        self.sharpness, self.bias = nn.Parameter(torch.tensor(1.5)), nn.Parameter(torch.tensor(0.0))
        if table is not None:
            for layer in (self.far, self.near):
                nn.init.zeros_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        rest = None if table is None else (table.sum(0, keepdim=True) == 0).to(table.dtype)
        self.register_buffer(
            "table", None if table is None or rest is None else torch.cat([table, rest])
        )

    table: Tensor | None

    def look(self, maps: Sequence[Tensor], again: SecondLook | None = None) -> Regions:
        """The backbone's four maps (N, C_i, H/s, W/s) -> what the frames show.

        Args:
            maps: Finest first.
            again: From shares of the pixels (N, 1, H, W) that are shown to the backbone's coarsest map of these frames;
                needed with `second_look`.
        """
        scales = self.neck(maps)
        outlines = self.decoder(scales)
        cells = scales[_CELLS]
        size = (cells.shape[2], cells.shape[3])
        wider = _resized(scales[-1], size)
        embeddings = self.embed(torch.cat([cells, wider, _places(cells)], dim=1))
        share = F.adaptive_avg_pool2d(outlines.sigmoid(), size)
        weights = _together(embeddings, share)
        far, prior = maps[-1], None
        if self.second_look:
            assert again is not None
            far = again(outlines.sigmoid())
        if self.classifier is not None:
            far, scores = self.classifier(far)
            if self.table is not None:
                # (n, p, k): k lies together
                shares = _pool_coarse(weights.detach(), scores, size).float().softmax(2)
                sums = rearrange(shares @ self.table.T, "n (h w) l -> n l h w", h=size[0])
                prior = (sums + 1e-5).log() * rearrange(self.trust, "l -> l 1 1")
        evidence = _resized(self.far(self.dropout(far)), size) + self.near(self.dropout(cells))
        names = _pool(weights, evidence)
        names = (names if prior is None else names + prior).log_softmax(1)
        return Regions(scales, outlines, embeddings, names)

    @property
    def look_is_frozen(self) -> bool:
        """Whether `look` gives the same for the same maps throughout training."""
        parts = [self.neck, self.decoder, self.embed, self.dropout, self.far, self.near]
        learned = (each.requires_grad for part in parts for each in part.parameters())
        return not (
            any(part.training for part in parts) or any(learned) or self.trust.requires_grad
        )

    @property
    def feature_channels(self) -> tuple[int, ...]:
        """Channels of `to_features`."""
        return (self.near.in_channels, _EMBEDDING, self.near.out_channels, 1)

    @staticmethod
    def to_features(seen: Regions) -> tuple[Tensor, ...]:
        """What the rest of the network needs of `look`'s answer: coarsest map, embeddings, names, outlines."""
        return (seen.scales[-1], seen.embeddings, seen.names, seen.outlines)

    @staticmethod
    def of_features(features: Sequence[Tensor]) -> Regions:
        """`look`'s answer, with the coarsest map alone, from what `to_features` returned."""
        coarsest, embeddings, names, outlines = features
        return Regions([coarsest], outlines, embeddings, names)

    def describe(self, seen: Picture, masks: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n f"]:
        """What lies under the masks: the mean of the regions' probabilities."""
        assert isinstance(seen, Regions)
        share = F.adaptive_avg_pool2d(masks, (seen.names.shape[2], seen.names.shape[3]))
        return (seen.names.exp() * share).sum((2, 3)) / share.sum((2, 3)).clamp_min(1e-6)

    def forward(
        self, seen: Picture, points: Mapping[str, Tensor], clip_count: int | torch.SymInt
    ) -> Answer:
        """Logits of the masks under values of c and s_a."""
        assert isinstance(seen, Regions)
        sounding = F.logsigmoid(points["shared"] - F.softplus(self.besides(points["audio"])))
        chosen = (seen.names[:, :-1] + rearrange(sounding, "n l -> n l 1 1")).logsumexp(
            1, keepdim=True
        )
        chosen = self.sharpness.abs() * _to_logit(chosen) + self.bias
        fine = F.interpolate(
            chosen, size=seen.outlines.shape[2:], mode="bilinear", align_corners=False
        )
        logits = _to_logit(F.logsigmoid(fine) + F.logsigmoid(seen.outlines))
        return Answer(logits, sounding=sounding)


def _to_logit(log_probability: Tensor) -> Tensor:
    bounded = log_probability.clamp(-30.0, _LEAST)
    return bounded - torch.log(-torch.expm1(bounded))


def _resized(maps: Float[Tensor, "n c h w"], size: tuple[int, int]) -> Float[Tensor, "n c h2 w2"]:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _places(maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 2 h w"]:
    """Coordinates of the cells in [-1, 1]."""
    n, _, h, w = maps.shape
    x = torch.linspace(-1, 1, w, device=maps.device, dtype=maps.dtype).expand(n, 1, h, w)
    y = (
        torch.linspace(-1, 1, h, device=maps.device, dtype=maps.dtype)
        .unsqueeze(1)
        .expand(n, 1, h, w)
    )
    return torch.cat([x, y], dim=1)


def same_region(embeddings: Float[Tensor, "n d h w"]) -> Float[Tensor, "n p p"]:
    """exp(-squared distance) of the embeddings of the P = h*w cells: the probability that two belong together."""
    cells = embeddings.flatten(2).transpose(1, 2)
    squared = cells.square().sum(2)
    distance = squared.unsqueeze(2) + squared.unsqueeze(1) - 2 * cells @ cells.transpose(1, 2)
    return torch.exp(-distance.clamp_min(0))


def _together(
    embeddings: Float[Tensor, "n d h w"], share: Float[Tensor, "n 1 h w"]
) -> Float[Tensor, "n p p"]:
    """Weights of the cells in the average of each cell's region: those that lie on the same thing; rows sum to 1."""
    weights = same_region(embeddings) * share.flatten(2) + _FEWEST / embeddings.shape[-1] ** 2
    return weights / weights.sum(2, keepdim=True)


def _pool(
    weights: Float[Tensor, "n p p"], maps: Float[Tensor, "n c h w"]
) -> Float[Tensor, "n c h w"]:
    return torch.einsum("npq,ncq->ncp", weights.to(maps.dtype), maps.flatten(2)).reshape(maps.shape)


def _pool_coarse(
    weights: Float[Tensor, "n p q"], maps: Float[Tensor, "n c h w"], size: tuple[int, int]
) -> Float[Tensor, "n p c"]:
    """`_pool` of a map with a quarter of the cells, at a quarter of the cost; the channels come last."""
    over = rearrange(weights, "n p (h w) -> n p h w", h=size[0])
    keys = 4 * F.avg_pool2d(over, 2).flatten(2)  # their sum; ONNX has no divisor of one's own
    return keys.to(maps.dtype) @ rearrange(maps, "n c h w -> n (h w) c")
