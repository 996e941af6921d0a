"""What a run of `ecmvae vae` is configured by: the three sections model, data and fit of its YAML file."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecmvae.config_reader import build, merge, nested, read_layers
from ecmvae.data.mnist import ImageSet
from ecmvae.data.picture_folder import MAX_PICTURES, MAX_SIZE, MIN_SIZE
from ecmvae.errors import UserError, check_range
from ecmvae.foreign_text import short
from ecmvae.training.vae_loop import FitSettings
from ecmvae.vae.zoo import ModelSettings

FOLDER = "folder"
"""Name of the data set that is a folder of one's own pictures."""


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which images."""

    name: str = "mnist"
    """mnist, fashion, digits (8x8, no download), poly_digits (five coloured pictures of one digit, no download), or
    folder:PATH for a folder of one's own pictures."""
    root: str | None = None
    """Folder of pictures, when name is folder."""
    size: int = 64
    """Height and width to which the pictures of a folder are brought."""
    grey: bool | None = None
    """Whether the pictures of a folder become grey; by default they do if all are."""
    attributes: list[str] | None = None
    """Columns of the folder's attribute table that conditional and multimodal models are given; all by default."""
    views: list[str] | None = None
    """Sub-folders that show the same things in files of equal names, as the modalities of a multimodal model; its
    attributes then play no part in training."""
    pad_to: int | None = None
    """Pad with black to this height and width, for instance 32 for the Keras models; not for a folder."""
    limit: int | None = None
    """Use only the first so many training images; of a folder, the first so many of each split."""
    validation: int = 0
    """Hold out the last so many training images; a folder has a validation split of its own."""

    def __post_init__(self) -> None:
        """Take ``folder:PATH`` apart; raises a `UserError` for an unknown set, and settings without effect."""
        kind, colon, path = self.name.partition(":")
        if kind == FOLDER and colon:
            object.__setattr__(self, "name", FOLDER)
            object.__setattr__(self, "root", path)
        sets = typing.get_args(ImageSet)
        if self.name not in (*sets, FOLDER):
            raise UserError(
                f"data.name takes one of {', '.join(sets)} and folder:PATH, got {short(self.name)}"
            )
        if self.name == FOLDER and not self.root:
            raise UserError(
                "data.name folder needs the folder's path: write folder:PATH, or set data.root"
            )
        unused = (
            ("pad_to", "validation")
            if self.name == FOLDER
            else ("root", "size", "grey", "attributes", "views")
        )
        for name in unused:
            if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                raise UserError(f"data.{name} has no effect on {self.name}: leave it out")
        if self.views is not None and (len(self.views) < 2 or self.attributes is not None):
            raise UserError(
                "data.views names at least two sub-folders, and data.attributes has no effect beside it"
            )
        check_range("data.size", self.size, MIN_SIZE, MAX_SIZE)
        if self.name == FOLDER:
            check_range("data.limit", 1 if self.limit is None else self.limit, 1, MAX_PICTURES)


@dataclass(frozen=True, kw_only=True)
class VAEConfig:
    """A whole run: a YAML file has these three sections."""

    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    fit: FitSettings = field(default_factory=FitSettings)

    def __post_init__(self) -> None:
        """Check the sizes before anything is built; raises a `UserError` that names the one out of its range."""
        for name in (
            "latent_dim",
            "hidden",
            "components",
            "private_dim",
            "flow_layers",
            "levels",
            "codes",
            "code_dim",
        ):
            check_range(f"model.{name}", getattr(self.model, name), 1, 65_536)


def load_vae_config(
    path: str | Path | None, overrides: Mapping[str, Any] | None = None
) -> VAEConfig:
    """Read a run's YAML file; None gives the defaults.

    Args:
        path: The file.
        overrides: Settings that replace the file's, for instance ``{"model.latent_dim": 2}``.

    Raises:
        UserError: For a missing file, or an unknown section, key or value.
    """
    layers = [] if path is None else [read_layers(Path(path))]
    return build(VAEConfig, merge([*layers, nested(overrides or {})]))
