"""A plain ViT of transformers as a visual backbone: four of its blocks as maps at strides 4, 8, 16 and 32.

As `ecmvae.visual.simple_pyramid` does with timm's: after the simple feature pyramid of ViTDet (arXiv 2203.16527),
without parameters, so that a frozen backbone is frozen as a whole and its maps can be cached.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ecmvae.errors import UserError
from ecmvae.foundation.loading import Loaded, load_network
from ecmvae.visual.normalisation import IMAGENET, Normalisation
from ecmvae.visual.simple_pyramid import covered, grid_size, resample_map
from ecmvae.visual.timm_models import STRIDES

SETTINGS: Mapping[str, Any] = {
    "out_features": None,
    "apply_layernorm": True,
    "reshape_hidden_states": True,
}
"""What a backbone of transformers is asked for, whatever its config.json says."""


class PlainViT(nn.Module):
    """The blocks at the first to the fourth quarter of a ViT, after its last normalisation layer.

    Args:
        loaded: A backbone of transformers, of at least four blocks, that returns ``feature_maps``.
    """

    backbone: ClassVar[str]
    """Name of its class in transformers."""
    kind: ClassVar[str]
    """What config.json calls the model."""
    default: ClassVar[str]
    """Name in the catalogue of the weights that are taken where none are named."""

    @classmethod
    def from_weights(
        cls,
        weights: str | None = None,
        *,
        pretrained: bool = True,
        architecture: Mapping[str, Any] | None = None,
        image_size: int = 224,
    ) -> PlainViT:
        """See `ecmvae.foundation.loading.load_network`; `image_size` may be any multiple of 32."""
        import transformers

        given = {
            "weights": weights,
            "pretrained": pretrained,
            "architecture": architecture,
            "settings": SETTINGS,
        }
        network = getattr(transformers, cls.backbone)
        return cls(load_network(network, kinds=(cls.kind,), default=cls.default, **given))  # type: ignore[arg-type]

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self.network, self.architecture = loaded.network, loaded.architecture
        config = self.network.config
        depth, self.patch = int(config.num_hidden_layers), int(config.patch_size)
        if depth < len(STRIDES):
            raise UserError(
                f"a visual backbone needs four blocks at least, and this {config.model_type} has {depth}"
            )
        blocks = [depth * quarter // 4 for quarter in (1, 2, 3, 4)]
        self.network.out_features = [self.network.stage_names[block] for block in blocks]
        self.channels = (int(config.hidden_size),) * len(STRIDES)
        self.normalisation = normalisation_in(loaded.preprocessor)

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> maps (N, C, H/s, W/s), s = 4, 8, 16, 32."""
        size = tuple(grid_size(side, self.patch) for side in frames.shape[-2:])
        if size != frames.shape[-2:]:
            frames = F.interpolate(frames, size, mode="bilinear")
        maps = self.network(frames).feature_maps
        return tuple(
            resample_map(each, covered(self.patch), stride)
            for each, stride in zip(maps, STRIDES, strict=True)
        )


def normalisation_in(preprocessor: Mapping[str, Any]) -> Normalisation:
    """Mean and std that preprocessor_config.json gives; ImageNet's without them.

    Raises:
        UserError: If they are not three usable numbers each.
    """
    given = {key: preprocessor.get(f"image_{key}") for key in ("mean", "std")}
    return IMAGENET if None in given.values() else Normalisation.from_dict(given)
