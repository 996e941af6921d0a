"""Input normalisation: the mean and standard deviation of RGB that a backbone was pretrained with.

They belong to the backbone, travel with the model, and are written into its folder's metadata.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from ecmvae.errors import UserError
from ecmvae.foreign_text import short

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any  # prediction with an exported model does without PyTorch

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Normalisation:
    """Scale RGB bytes to zero mean and unit variance: ``(frames / 255 - mean) / std``.

    Args:
        mean: Mean of R, G and B in [0, 1].
        std: Standard deviation of R, G and B in [0, 1].

    Raises:
        ValueError: Unless both hold three numbers and every std is positive.
    """

    mean: Triple
    std: Triple

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            values = tuple(float(value) for value in getattr(self, name))
            if len(values) != 3:
                raise ValueError(f"{name} needs three numbers (R, G, B), got {values}")
            object.__setattr__(self, name, values)
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")

    def __call__(self, frames: Tensor) -> Tensor:
        """Normalise RGB frames (..., 3, H, W) uint8, 0 ... 255; float32 of the same shape."""
        pixels = frames.float() / 255
        mean, std = self._planes(pixels)
        return pixels.sub_(mean).div_(std)

    def array(self, frame: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "3 h w"]:
        """The same of one frame in NumPy, its channels first."""
        mean, std = (
            np.array(values, np.float32)[:, None, None] for values in (self.mean, self.std)
        )
        planes = np.ascontiguousarray(frame.transpose(2, 0, 1))
        normalised: np.ndarray = np.multiply(planes, 1 / (255 * std), dtype=np.float32)
        normalised -= mean / std
        return normalised

    def pictures(self, frames: Tensor) -> Tensor:
        """Undo the normalisation of (..., 3, H, W), for display: RGB in [0, 1]."""
        mean, std = self._planes(frames)
        return (frames * std + mean).clamp(0, 1)

    def to_dict(self) -> dict[str, list[float]]:
        """The form that metadata.json keeps: ``{"mean": [r, g, b], "std": [r, g, b]}``."""
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Normalisation:
        """Read what `to_dict` returned.

        Raises:
            UserError: If a key is missing or a value is not three usable numbers.
        """
        try:
            return cls(mean=tuple(values["mean"]), std=tuple(values["std"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"cannot read a normalisation from {short(values)}: it needs mean and std, R, G, B"
            ) from error

    def _planes(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and std, each (3, 1, 1), in the type and on the device of the frames."""
        mean, std = planes = frames.new_empty(2, 3, 1, 1)
        for plane, value in zip(planes.flatten(), (*self.mean, *self.std), strict=True):
            plane.fill_(value)  # a tensor made of numbers would be sent, and a GPU waited for
        return mean, std


IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""ImageNet's statistics: the default, and that of every model saved without one."""
