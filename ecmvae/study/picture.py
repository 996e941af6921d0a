"""The picture of a study: means and differences of each headline score, with 95 % intervals and a dot for each seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecmvae.files import replacing
from ecmvae.foreign_text import cut
from ecmvae.study.intervals import Interval

if TYPE_CHECKING:
    from ecmvae.study.table import StudyTable

_BLUE, _GREY = "#1f5fa8", "#8a8a8a"


def draw(table: StudyTable, out: Path) -> Path:
    """Draw the table's headlines into a PNG file; returns it."""
    from matplotlib.figure import Figure

    lines, rows = len(table.headlines), len(table.rows)
    figure = Figure(figsize=(11, lines * (1.2 + 0.34 * rows) + 0.3), layout="constrained")
    panels = figure.subplots(lines, 2, squeeze=False, sharey="row")
    for (means, differences), name in zip(panels, table.headlines, strict=True):
        estimates = [row.estimates[name] for row in table.rows]
        _points(means, [each.mean for each in estimates], [each.by_seed for each in estimates])
        _points(
            differences,
            [each.difference for each in estimates],
            [each.difference_by_seed for each in estimates],
        )
        differences.axvline(0, color=_GREY, linewidth=0.8, zorder=0)
        means.set_yticks(
            range(rows), [cut(row.runs[0].variant or row.label, 48) for row in table.rows]
        )
        means.set_ylim(rows - 0.5, -0.5)
        means.set_title(table.short_name(name), fontsize="medium")
        differences.set_title(f"difference to {cut(table.rows[0].label, 40)}", fontsize="medium")
    data = f"{table.scored_on}. " if table.scored_on else ""
    figure.supxlabel(
        f"{data}Blue: mean over the seeds and 95 % interval. Grey: each seed.", fontsize="small"
    )
    with replacing(out) as part:
        figure.savefig(part, dpi=110)
    return out


def _points(
    axes: Any, values: Sequence[Interval | None], by_seed: Sequence[Mapping[int, float]]
) -> None:
    """One line a variant, from top to bottom."""
    for line, (value, seeds) in enumerate(zip(values, by_seed, strict=True)):
        if value is None:
            continue
        axes.plot(list(seeds.values()), [line + 0.18] * len(seeds), "o", color=_GREY, markersize=3)
        if value.low is not None:
            axes.plot([value.low, value.high], [line, line], color=_BLUE, linewidth=2)
        axes.plot([value.value], [line], "o", color=_BLUE, markersize=6)
    axes.grid(axis="x", linewidth=0.3)
    axes.tick_params(labelsize="small")
