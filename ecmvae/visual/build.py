"""Build a visual backbone from a name, an import path, a class or a ready module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ecmvae.errors import UserError
from ecmvae.registry import is_import_path
from ecmvae.visual import BACKBONES, TimmModel
from ecmvae.visual.backbone import VisualBackbone
from ecmvae.visual.timm_models import STRIDES


@runtime_checkable
class Backbone(Protocol):
    """What a visual backbone is: an `nn.Module` with these two members.

    It may have a third one, ``normalisation``: the `Normalisation` of the frames that it expects; ImageNet's otherwise.
    Whatever it learns belongs to it: `freeze_backbone` fixes all of it, and cached features are its maps.
    """

    channels: tuple[int, ...]
    """Channels C_i of the four maps, finest first."""

    def __call__(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Four maps (N, C_i, H/s, W/s), s = 4, 8, 16, 32, of frames (N, 3, H, W), H and W multiples of 32."""
        ...


def channels_of(backbone: nn.Module) -> tuple[int, ...]:
    """Channels of a backbone's four maps, finest first.

    Raises:
        UserError: If it has no ``channels``.
    """
    channels: Any = getattr(backbone, "channels", None)
    if channels is None or len(channels) != len(STRIDES):
        name = type(backbone).__name__
        raise UserError(
            f"{name} is not a visual backbone: it lacks .channels, the channels of its four maps"
        )
    return tuple(channels)


def check_maps(backbone: nn.Module, maps: Sequence[Tensor], size: tuple[int, int]) -> None:
    """Compare a backbone's maps with the channels that it declares, and with the strides that every backbone has.

    Args:
        backbone: The network that made them; one without ``channels`` is not checked.
        maps: (N, C_i, H_i, W_i), finest first.
        size: (H, W) of the frames.

    Raises:
        UserError: If there are others than four maps (N, C_i, H/s, W/s), naming the backbone and both shapes.
    """
    if getattr(backbone, "channels", None) is None:
        return
    height, width = size
    wanted = [
        (channels, height // stride, width // stride)
        for channels, stride in zip(channels_of(backbone), STRIDES, strict=True)
    ]
    if (found := [tuple(each.shape[1:]) for each in maps]) != wanted:
        raise UserError(
            f"{type(backbone).__name__} declares maps of {wanted} for frames of {height} x {width} pixels "
            f"(.channels, strides {STRIDES}), but returns {found}"
        )


def build_backbone(
    choice: str | nn.Module | Callable[..., nn.Module],
    *,
    weights: str | None = None,
    image_size: int = 224,
    drop_path: float = 0.0,
    pretrained: bool = True,
    architecture: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build a backbone and check that it gives the maps it promises.

    Args:
        choice: A name of `BACKBONES` or of timm, see `VisualBackbone`; an import path ``package.module:attribute``, a
            class or a function, called with ``image_size=``; or a ready module, which is returned as it is.
        weights: See `VisualBackbone`. Another backbone brings its own weights.
        image_size: Side of the square frames in pixels.
        drop_path: See `VisualBackbone`; for networks of timm only.
        pretrained: False leaves a foundation model with random weights; without effect on others.
        architecture: Of a foundation model whose weights the caller fills in, as it was saved with a trained model.

    Raises:
        UserError: If the choice cannot be built or is not a `Backbone`.

    Example:
        >>> build_backbone("pvt_v2_b0").channels
        (32, 64, 160, 256)
    """
    entry: Any = choice
    if isinstance(choice, str):
        entry = BACKBONES.get(choice) if choice in BACKBONES or is_import_path(choice) else None
        if entry is None or isinstance(entry, TimmModel):
            backbone = VisualBackbone(
                choice, weights=weights, image_size=image_size, drop_path=drop_path
            )
            return (
                backbone if isinstance(entry, TimmModel) else _checked(backbone, choice, image_size)
            )
    if drop_path:
        raise UserError(
            f"model.visual.drop_path is for timm's networks: {choice} has to drop its paths itself"
        )
    if (load := getattr(entry, "from_weights", None)) is not None:
        about = {"pretrained": pretrained, "architecture": architecture, "image_size": image_size}
        return _checked(load(weights, **about), str(choice), image_size)
    if weights is not None:
        raise UserError(
            f"model.visual.weights is for timm's networks: {choice} has to load its weights itself"
        )
    ready = entry if isinstance(entry, nn.Module) else entry(image_size=image_size)
    return _checked(ready, choice if isinstance(choice, str) else type(ready).__name__, image_size)


@torch.no_grad()
def _checked(backbone: Any, name: str, image_size: int) -> nn.Module:
    """Run one black frame through a backbone.

    Raises:
        UserError: If it is not a module, lacks `channels`, or has maps of other shapes.
    """
    if not isinstance(backbone, nn.Module):
        raise UserError(
            f"{name} is not a visual backbone: it is a {type(backbone).__name__}, not an nn.Module"
        )
    channels = channels_of(backbone)
    modes = {module: module.training for module in backbone.modules()}
    device = next((parameter.device for parameter in backbone.parameters()), torch.device("cpu"))
    try:
        maps = backbone.eval()(torch.zeros(1, 3, image_size, image_size, device=device))
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        raise UserError(
            f"{name} cannot see frames of {image_size} x {image_size} pixels: {error}"
        ) from error
    finally:
        for module, mode in modes.items():
            module.training = mode
    wanted = [
        (1, width, image_size // s, image_size // s)
        for width, s in zip(channels, STRIDES, strict=True)
    ]
    if (found := [tuple(each.shape) for each in maps]) != wanted:
        raise UserError(
            f"{name} is not a visual backbone: its maps are {found}, needed are {wanted}"
        )
    return backbone
