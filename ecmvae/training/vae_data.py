"""The data of a run of `ecmvae vae`: labelled image sets and folders of one's own pictures, in one form."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad

from ecmvae.data.mnist import ImageSet, LabelledImages, load_images
from ecmvae.data.picture_files import read_picture
from ecmvae.data.picture_folder import PictureFolder, Split, nearest_name
from ecmvae.errors import UserError
from ecmvae.files import show_path
from ecmvae.foreign_text import cut
from ecmvae.training.vae_loop import as_float as as_float
from ecmvae.training.vae_settings import FOLDER, DataSettings
from ecmvae.vae.multimodal import MultimodalVAE
from ecmvae.vae.vae import ConditionalVAE
from ecmvae.vae.zoo import ATTRIBUTES, Model

logger = logging.getLogger(__name__)

CLASSES = 10
"""Of the labelled image sets."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Pictures and what is known of them.

    Attributes:
        images: (n, *event), uint8 from 0 to 255, or float32 in [0, 1].
        conditions: Modality -> (n, K) float32 of 0 and 1: its attributes or one-hot values.
        names: What to call each picture.
        factors: (n, F), codes of the known factors.
    """

    images: Tensor
    conditions: dict[str, Tensor]
    names: list[str]
    factors: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: slice | Tensor | Sequence[int]) -> Samples:
        """Some of the samples."""
        rows = torch.arange(len(self))[index]
        return Samples(
            images=self.images[rows],
            conditions={name: table[rows] for name, table in self.conditions.items()},
            names=[self.names[row] for row in rows.tolist()],
            factors=self.factors[rows],
        )


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What a model has to know of its data; a run keeps it, so that loading a model does not need the data.

    Attributes:
        event_shape: (C, H, W), or (M, C, H, W) for M pictures of one thing.
        conditions: Modality -> the names of its columns.
    """

    event_shape: tuple[int, ...]
    conditions: dict[str, tuple[str, ...]]

    @property
    def classes(self) -> dict[str, int]:
        """Modality -> number of its columns."""
        return {name: len(columns) for name, columns in self.conditions.items()}


class RunData:
    """The pictures that a configuration names; read on first use.

    Attributes:
        settings: The configuration.
        facts: Shape of a picture, and names of the conditions.
        factor_names: Names of the known factors.
        folder: The reader, when the data is a folder of pictures.
    """

    def __init__(self, settings: DataSettings, known: DataFacts | None = None) -> None:
        """List the pictures of a folder, or load an image set.

        Args:
            settings: Which data.
            known: Facts of the data that a model was trained on, whose conditions these samples get as far as the
                folder has them.

        Raises:
            UserError: Where that fails.
        """
        self.settings = settings
        self.folder: PictureFolder | None = None
        if settings.name == FOLDER:
            views = tuple(settings.views or ())
            root = Path(settings.root or "")
            self.folder = PictureFolder(
                root, settings.size, settings.grey, limit=settings.limit, views=views
            )
            self._columns = (
                _columns(self.folder, settings.attributes)
                if known is None
                else _same(self.folder, known)
            )
            if views:
                self._columns = {}
            self.factor_names = self.folder.factor_names
            shape: tuple[int, ...] = (self.folder.channels, settings.size, settings.size)
            shape = (len(views), *shape) if views else shape
            self.facts = known or DataFacts(
                event_shape=shape, conditions=_names(self.folder, self._columns)
            )
            self.facts = replace(self.facts, event_shape=shape)
        else:
            self.factor_names = ["label"]
            shape = tuple(self.image_set.train_images.shape[1:])
            self.facts = DataFacts(
                event_shape=shape, conditions={"label": tuple(map(str, range(CLASSES)))}
            )

    @property
    def source(self) -> str:
        """The name of an image set, or folder:PATH."""
        return f"{FOLDER}:{self.settings.root}" if self.folder else self.settings.name

    @cached_property
    def image_set(self) -> LabelledImages:
        """The image set; of a folder there is none."""
        return _image_set(self.settings)

    def samples(self, split: Split) -> Samples:
        """The samples of train, valid or test; empty where there are none."""
        if self.folder is not None:
            table = self.folder.table(split).float()
            return Samples(
                images=self.folder.images(split),
                conditions={name: _chosen(table, index) for name, index in self._columns.items()},
                names=self.folder.names(split),
                factors=self.folder.factors(split),
            )
        if split == "all":
            raise UserError(
                f"{self.settings.name} has the splits train, valid and test: choose one of them"
            )
        sets, held_out = self.image_set, len(self.image_set.train_images) - self.settings.validation
        images, labels = {
            "train": (sets.train_images[:held_out], sets.train_labels[:held_out]),
            "valid": (sets.train_images[held_out:], sets.train_labels[held_out:]),
            "test": (sets.test_images, sets.test_labels),
        }[split]
        return Samples(
            images=images,
            conditions={"label": one_hot(labels, CLASSES).float()},
            names=[f"{split} {number}" for number in range(len(images))],
            factors=labels[:, None],
        )

    def column(self, attribute: str, split: Split) -> Tensor:
        """Which samples of a split have an attribute, (n,) bool.

        Raises:
            UserError: If the attribute does not exist, or all or none of the samples have it.
        """
        if self.folder is not None:
            return self.folder.attribute(attribute, split)
        names = [f"label={number}" for number in range(CLASSES)]
        if attribute not in names:
            raise UserError(
                f"{self.settings.name} has no attribute {cut(attribute)!r}: {nearest_name(attribute, names)}"
            )
        has: Tensor = self.samples(split).factors[:, 0] == names.index(attribute)
        return has


def batch_of(model: Model | nn.Module, samples: Samples) -> dict[str, Tensor]:
    """Named tensors for a model: x; x and y; the picture and its conditions; or image_0, image_1 and so on.

    Raises:
        UserError: If a conditional or multimodal model has no conditions.
    """
    images = samples.images
    if isinstance(model, MultimodalVAE) and images.ndim == 5:
        return {f"image_{number}": each for number, each in enumerate(images.unbind(1))}
    if isinstance(model, MultimodalVAE):
        return {"image": images, **samples.conditions}
    if isinstance(model, ConditionalVAE):
        return {"x": images, "y": torch.cat(list(samples.conditions.values()), 1)}
    return {"x": images}


def read_pictures(paths: Sequence[str], facts: DataFacts) -> Samples:
    """Single pictures, in the size and the colours of a model's data, without conditions.

    Raises:
        UserError: If one cannot be read, or the model sees several pictures at once.
    """
    if len(facts.event_shape) != 3 or facts.event_shape[1] != facts.event_shape[2]:
        raise UserError(
            f"this model takes samples of shape {facts.event_shape}, not single square pictures"
        )
    channels, size, _ = facts.event_shape
    images = [
        torch.from_numpy(read_picture(Path(path), size, channels)).permute(2, 0, 1)
        for path in paths
    ]
    return Samples(
        images=torch.stack(images),
        conditions={},
        names=[show_path(Path(path)) for path in paths],
        factors=torch.zeros(len(images), 0, dtype=torch.long),
    )


def _columns(folder: PictureFolder, wanted: Sequence[str] | None) -> dict[str, list[int]]:
    """Modality -> columns of the table: the binary ones make one modality, each categorical one is its own.

    A column that has one value in all training pictures teaches nothing: it is an error where it was asked for, and
    left out otherwise.
    """
    chosen: dict[str, list[int]] = {}
    codes = folder.factors("train") if folder.factor_names else torch.zeros(0, 0)
    for name in folder.factor_names if wanted is None else wanted:
        column = folder.index_of(name, folder.factor_names)
        if len(torch.unique(codes[:, column])) < 2:
            if wanted is not None:
                raise UserError(
                    f"all training pictures in {show_path(folder.root)} have the same {cut(name)}: leave it out of "
                    "data.attributes, or add other pictures"
                )
            logger.warning("all training pictures have the same %s: it is left out", cut(name))
            continue
        if name in folder.attributes:
            chosen.setdefault(ATTRIBUTES, []).append(folder.attributes.index(name))
        else:
            values = [
                folder.attributes.index(f"{name}={value}") for value in folder.values_of(name)
            ]
            chosen[_module_name(name)] = values
    return chosen


def _names(
    folder: PictureFolder, columns: Mapping[str, Sequence[int]]
) -> dict[str, tuple[str, ...]]:
    return {
        name: tuple(folder.attributes[place] for place in index) for name, index in columns.items()
    }


def _same(folder: PictureFolder, known: DataFacts) -> dict[str, list[int]]:
    """The columns that a model knows, -1 for a value that no picture of this folder has; whole modalities may lack."""
    places = {name: place for place, name in enumerate(folder.attributes)}
    found = {}
    for modality, columns in known.conditions.items():
        index = [places.get(name, -1) for name in columns]
        factors = {name.partition("=")[0] for name in columns} if modality != ATTRIBUTES else set()
        if max(index) >= 0 and (
            factors <= set(folder.factor_names) if factors else min(index) >= 0
        ):
            found[modality] = index
    return found


def _chosen(table: Tensor, index: Sequence[int]) -> Tensor:
    """Columns of a table (n, A), zeros for -1."""
    return pad(table, (0, 1))[:, index]


def _module_name(column: str) -> str:
    """The column's name as one that torch accepts for a module."""
    name = column.replace(".", "_")
    return (
        f"{name}_"
        if name in ("image", ATTRIBUTES) or hasattr(nn.ModuleDict, name) or name == "training"
        else name
    )


def _image_set(settings: DataSettings) -> LabelledImages:
    name: ImageSet = settings.name  # type: ignore[assignment]  # checked by DataSettings
    images = load_images(name)
    if settings.pad_to is not None:
        missing = settings.pad_to - images.train_images.shape[-1]
        if missing < 0:
            raise UserError(
                f"data.pad_to {settings.pad_to} is smaller than the images: leave it out"
            )
        margins = (missing // 2, missing - missing // 2) * 2
        images = replace(
            images,
            train_images=pad(images.train_images, margins),
            test_images=pad(images.test_images, margins),
        )
    kept = slice(settings.limit)
    images = replace(
        images, train_images=images.train_images[kept], train_labels=images.train_labels[kept]
    )
    if not 0 <= settings.validation < len(images.train_images):
        raise UserError(
            f"data.validation {settings.validation} leaves nothing of {len(images.train_images)} training images"
        )
    return images
