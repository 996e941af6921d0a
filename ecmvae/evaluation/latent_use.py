"""The table of what `ecmvae.models.latent_use` measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

LATENT_COLUMNS = (
    "latent",
    "active",
    "KL",
    "zeroed",
    "drawn again",
    "of another clip",
    "mIoU of another clip",
)
"""Of the table of a report: units of dimensions, nats, and mean change of probability in what sounds."""


def latent_rows(use: Mapping[str, Any]) -> list[Sequence[str]]:
    """The rows of `LATENT_COLUMNS`, of what `LatentUse.compute` gave."""
    rows: list[Sequence[str]] = []
    for name, swapped in use["swapped"].items():
        own = use["latents"].get(name)
        active = "" if own is None else f"{own['active_units']} of {own['dimensions']}"
        changes = [
            f"{use[change][name]['change_in_objects']:.3f}"
            for change in ("zeroed", "resampled", "swapped")
        ]
        rows.append(
            (
                name,
                active,
                "" if own is None else _nats(own["kl"]),
                *changes,
                f"{swapped['miou']:.3f}",
            )
        )
    return rows


def _nats(value: float) -> str:
    """A latent whose posterior and prior have drifted apart has astronomical ones."""
    return f"{value:.1f}" if value < 1e6 else f"{value:.1e}"


def latent_table(use: Mapping[str, Any]) -> Table:
    """The same for a console, followed by what it means."""
    verdict = (
        f"shown a shifted mask, the posterior answers it with IoU {use['posterior_iou_with_shown_mask']:.2f}"
        if use["used"]
        else "the latents are not used: drawing them (--samples) adds nothing to this model's masks"
    )
    title = f"latent use, {use['clips']} clips, mIoU {use['normal_miou']:.3f}"
    table = Table(title=title, caption=verdict, box=box.SIMPLE_HEAD, padding=0)
    for column in LATENT_COLUMNS:
        table.add_column(column, justify="left" if column == "latent" else "right")
    for row in latent_rows(use):
        table.add_row(*row)
    return table
