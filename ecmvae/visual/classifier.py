"""The classifier that a network of timm was trained with, applied to every cell of its last map."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.errors import UserError
from ecmvae.foreign_text import parse_yaml, short
from ecmvae.visual import BACKBONES, TimmModel
from ecmvae.visual.timm_models import create, find_maps, read_weights


class DenseClassifier(nn.Module):
    """The layers behind a backbone's map of stride 32, without the average over places between them.

    It stays as it is: it has no gradient and is always in eval mode.

    Args:
        name: Of the backbone, see `ecmvae.visual.backbone.VisualBackbone`.
        weights: See there.
        image_size: See there.

    Attributes:
        width: F, of the features that the last layer sees.
        classes: K, for ImageNet 1,000.

    Raises:
        UserError: If the network's last layer is not linear on features that come from convolutions.
    """

    def __init__(self, name: str, *, weights: str | None = None, image_size: int = 224) -> None:
        super().__init__()
        entry = BACKBONES.get(name) if name in BACKBONES else TimmModel(name)
        if not isinstance(entry, TimmModel):
            raise UserError(
                f"model.regions.classifier needs a network of timm, {name!r} is not: set it to false"
            )
        find_maps(entry.timm_name)  # says which names there are
        full: Any = create(entry.timm_name, image_size=image_size, pretrained=weights == "timm")
        if weights not in (None, "timm"):
            full.load_state_dict(read_weights(weights, name, full)[0])
        last = full.get_classifier()
        if not isinstance(last, nn.Linear):
            raise UserError(
                f"model.regions.classifier: the last layer of {name} is not linear: set it to false"
            )
        before = [getattr(full, part) for part in ("conv_head", "bn2") if hasattr(full, part)]
        self.before, self.last = nn.Sequential(*before), last
        self.width, self.classes = last.in_features, last.out_features
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> DenseClassifier:
        """Stay in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self, maps: Float[Tensor, "n c h w"]
    ) -> tuple[Float[Tensor, "n f h w"], Float[Tensor, "n k h w"]]:
        """The map of stride 32 -> features and logits of every cell."""
        features = self.before(maps)
        scores = self.last(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return features, scores


SAVED_TABLE = "saved"
"""``model.fusion.table`` of a model that is read from a folder: the table is among its weights."""


def code_table(choice: str, codes: int, classes: int) -> Float[Tensor, "l k"]:
    """Which of K classes of a classifier mean which of L codes, in {0, 1}.

    Args:
        choice: "collage", the path of a YAML file ``code: [number, first-last, ...]``, or `SAVED_TABLE`.
        codes: L; the table may have fewer rows, the further codes have no class.
        classes: K.

    Raises:
        UserError: If the file is missing, is not a table, or does not fit L and K.
    """
    table = torch.zeros(codes, classes)
    if choice == SAVED_TABLE:
        return table
    rows = _rows(choice)
    if len(rows) > codes:
        raise UserError(f"{choice}: has {len(rows)} codes, more than model.latent.dim = {codes}")
    for row, (code, entries) in enumerate(rows.items()):
        for entry in entries if isinstance(entries, list) else [entries]:
            first, _, last = str(entry).partition("-")
            if not (first + last).isdigit() or not int(first) <= int(last or first) < classes:
                raise UserError(
                    f"{choice}: {short(code)} names {short(entry)}, not a class number below {classes}"
                )
            table[row, int(first) : int(last or first) + 1] = 1
    return table


def code_names(choice: str) -> tuple[str, ...]:
    """What the codes of a table are called, from the first on; its arguments and errors are those of `code_table`."""
    return tuple(map(str, _rows(choice)))


def _rows(choice: str) -> dict[Any, Any]:
    if choice == "collage":
        file = resources.files("ecmvae.visual").joinpath("collage_codes.yaml")
        text = file.read_text(encoding="utf-8")
    elif Path(choice).is_file():
        text = Path(choice).read_text(encoding="utf-8")
    else:
        raise UserError(
            f"model.fusion.table: {choice} not found: use collage or the path of a YAML file"
        )
    rows = parse_yaml(text, choice)
    if not isinstance(rows, dict):
        raise UserError(f"{choice}: needs lines 'code: [class numbers]'")
    return rows
