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


class Sight(NamedTuple):
    """What `RegionAnswer` sees before it names anything.

    Attributes:
        scales: Maps of C channels, finest first.
        outlines: (N, 1, H, W), logits that a pixel shows a thing.
        embeddings: (N, D, h, w), by which cells belong together.
        together: (N, P, P) of the P = h*w cells, the weights with which each is averaged over its region.
        far: (N, F, h/2, w/2), the classifier's features, or the backbone's coarsest map without one.
        known: (N, L+1, h, w), log-probabilities of the codes and of none after the classifier and the table, or None.
    """

    scales: Sequence[Tensor]
    outlines: Tensor
    embeddings: Tensor
    together: Tensor
    far: Tensor
    known: Tensor | None


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
        bare_names: Share of the frames in training whose names are those of classifier and table alone.
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
        bare_names: float = 0.0,
    ) -> None:
        super().__init__()
        self.second_look, self.bare_names = second_look, bare_names
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
        return self.name(self.see(maps, again))

    def see(self, maps: Sequence[Tensor], again: SecondLook | None = None) -> Sight:
        """What needs no name: outlines, what belongs together, and the classifier's answer; arguments as `look`."""
        scales = self.neck(maps)
        outlines = self.decoder(scales)
        cells = scales[_CELLS]
        size = (cells.shape[2], cells.shape[3])
        wider = _resized(scales[-1], size)
        embeddings = self.embed(torch.cat([cells, wider, _places(cells)], dim=1))
        together = _together(embeddings, _share(outlines, size))
        far, known = maps[-1], None
        if self.second_look:
            assert again is not None
            far = again(outlines.sigmoid())
        if self.classifier is not None:
            far, scores = self.classifier(far)
            if self.table is not None:
                # (n, p, k): k lies together
                shares = _pool_coarse(together.detach(), scores, size).float().softmax(2)
                sums = rearrange(shares @ self.table.T, "n (h w) l -> n l h w", h=size[0])
                known = (sums + 1e-5).log()
        return Sight(scales, outlines, embeddings, together, far, known)

    def name(self, sight: Sight) -> Regions:
        """The regions with their names: what the classifier knows, corrected by the learned layers."""
        cells = sight.scales[_CELLS]
        size = (cells.shape[2], cells.shape[3])
        evidence = _resized(self.far(self.dropout(sight.far)), size) + self.near(
            self.dropout(cells)
        )
        names = _pool(sight.together, evidence)
        if sight.known is not None:
            if self.dropout.training and self.bare_names:
                bare = torch.rand(len(names), 1, 1, 1, device=names.device) < self.bare_names
                names = names.masked_fill(bare, 0)
            names = names + sight.known * rearrange(self.trust, "l -> l 1 1")
        return Regions(sight.scales, sight.outlines, sight.embeddings, names.log_softmax(1))

    @property
    def sight_is_frozen(self) -> bool:
        """Whether `see` gives the same for the same maps throughout training."""
        return not _changes(self.neck, self.decoder, self.embed)

    @property
    def names_are_frozen(self) -> bool:
        """Whether `name` gives the same for the same `Sight`."""
        return not (_changes(self.dropout, self.far, self.near) or self.trust.requires_grad)

    @property
    def feature_channels(self) -> tuple[int, ...]:
        """Channels of `to_features`."""
        if self.names_are_frozen:
            return (self.near.in_channels, _EMBEDDING, self.near.out_channels, 1)
        known = () if self.table is None else (self.near.out_channels,)
        return (self.near.in_channels,) * 2 + (_EMBEDDING, self.far.in_channels, *known, 1)

    def to_features(self, sight: Sight) -> tuple[Tensor, ...]:
        """What the rest of the network needs of a `Sight`, with the names unless these are being trained."""
        scales, outlines, embeddings, _, far, known = sight
        if self.names_are_frozen:
            return (scales[-1], embeddings, self.name(sight).names, outlines)
        kept = () if known is None else (known,)
        return (scales[-1], scales[_CELLS], embeddings, far, *kept, outlines)

    def of_features(self, features: Sequence[Tensor]) -> Regions:
        """`look`'s answer, with the maps alone that are needed further, from what `to_features` returned."""
        if self.names_are_frozen:
            coarsest, embeddings, names, outlines = features
            return Regions([coarsest], outlines, embeddings, names)
        coarsest, cells, embeddings, far, *known, outlines = features
        together = _together(embeddings, _share(outlines, (cells.shape[2], cells.shape[3])))
        scales = [cells] * (_CELLS + 1) + [coarsest]  # of the finer ones nothing is used
        prior = known[0] if known else None
        return self.name(Sight(scales, outlines, embeddings, together, far, prior))

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


def _changes(*parts: nn.Module) -> bool:
    """Whether something of these is being trained, or in training mode."""
    learned = any(each.requires_grad for part in parts for each in part.parameters())
    return learned or any(part.training for part in parts)


def _to_logit(log_probability: Tensor) -> Tensor:
    bounded = log_probability.clamp(-30.0, _LEAST)
    return bounded - torch.log(-torch.expm1(bounded))


def _resized(maps: Float[Tensor, "n c h w"], size: tuple[int, int]) -> Float[Tensor, "n c h2 w2"]:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _share(outlines: Float[Tensor, "n 1 hh ww"], size: tuple[int, int]) -> Float[Tensor, "n 1 h w"]:
    """Of each cell, how much is outlined."""
    return F.adaptive_avg_pool2d(outlines.sigmoid(), size)


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
