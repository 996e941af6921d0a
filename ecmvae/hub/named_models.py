"""Models by name: which there are, where each comes from, and the SHA-256 that its weights must have.

The list is ``weights/models.yaml``. A model's source is ``package`` (a folder beside the list, part of the wheel) or
``hf://owner/name@commit`` (fetched from the hub when it is first asked for). A name stays; a better model replaces what
it stands for, and the hash with it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

import yaml

from ecmvae.errors import UserError
from ecmvae.hub.client import HubAddress, check_sha256, fetch

CONFIG_FILE, WEIGHTS_FILE, METADATA_FILE, CARD_FILE = (
    "config.yaml",
    "model.safetensors",
    "metadata.json",
    "README.md",
)
GRAPH_FILE = "model.onnx"
"""The graph of a packaged model, for onnxruntime; its weights are those of the folder's model.safetensors."""
MODEL_FILES = (CONFIG_FILE, WEIGHTS_FILE, METADATA_FILE, CARD_FILE)
"""What a model folder consists of; the last two may be missing."""

PACKAGED = Path(str(files("ecmvae"))) / "weights"
"""The list, and the models that come with the wheel."""
INDEX_FILE = "models.yaml"


@dataclass(frozen=True, kw_only=True)
class NamedModel:
    """One entry of the list.

    Attributes:
        name: Its name.
        summary: What it is, in a line.
        source: "package" or ``hf://owner/name@commit``.
        sha256: Of its weights.
        size: Of its weights, in bytes.
        licence: SPDX identifier.
        home: Folder of the list.
    """

    name: str
    summary: str
    source: str
    sha256: str
    size: int
    licence: str
    home: Path

    @property
    def packaged(self) -> bool:
        """Whether it comes with the wheel."""
        return self.source == "package"

    def folder(self, *, local_only: bool = False) -> Path:
        """The model folder, fetched if need be and allowed; its weights are those of the list.

        Raises:
            UserError: If it is not available, or its weights are others.
        """
        address = HubAddress.parse(self.source)
        if address is None:
            folder, again = self.home / self.name, "reinstall ecmvae"
            if not all((folder / file).is_file() for file in (CONFIG_FILE, WEIGHTS_FILE)):
                raise UserError(
                    f"{folder} should come with ecmvae and is missing or incomplete: {again}"
                )
        else:
            folder, again = (
                fetch(address, MODEL_FILES, local_only=local_only),
                f"delete {self.name} from the cache",
            )
            if not (folder / WEIGHTS_FILE).is_file():
                raise UserError(f"{address} holds no {WEIGHTS_FILE}: update ecmvae")
        check_sha256(folder / WEIGHTS_FILE, self.sha256, again)
        return folder

    def state(self) -> tuple[Literal["packaged", "cached", "not fetched", "damaged"], str]:
        """Where it is at the moment, found out without any network, and why it cannot be used ("" if it can)."""
        try:
            self.folder(local_only=True)
        except UserError as error:
            return ("damaged" if self.packaged else "not fetched"), str(error)
        return ("packaged" if self.packaged else "cached"), ""


def named_models(home: Path | None = None) -> dict[str, NamedModel]:
    """The list in a folder, None = the one of ecmvae, by name; the first packaged one is every command's default."""
    home = home or PACKAGED
    entries: Mapping[str, Mapping[str, str | int]] = (
        yaml.safe_load((home / INDEX_FILE).read_text("utf-8")) or {}
    )
    return {name: NamedModel(name=name, home=home, **entry) for name, entry in entries.items()}  # type: ignore[arg-type]


def did_you_mean(wrong: str, others: tuple[str, ...] = ()) -> str:
    """A hint at the nearest name or other right answer, such as a folder nearby, to be put behind a complaint."""
    known = named_models()
    close = difflib.get_close_matches(wrong, [*known, *others], n=1, cutoff=0.5)
    return (
        f": did you mean {close[0]}?"
        if close
        else f"; models by name: {', '.join(known) or 'none'} (ecmvae models)"
    )
