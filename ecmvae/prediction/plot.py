"""Figures of a prediction; the only place in prediction that imports matplotlib."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from ecmvae.data.video import stream_frames
from ecmvae.errors import UserError
from ecmvae.prediction import render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ecmvae.prediction.result import VideoResult


def plot_result(result: VideoResult, count: int = 6) -> Figure:
    """Frames with masks in a row; below, loudness, masked area and mean uncertainty over time.

    Of pictures that were predicted from memory, which the result does not keep, probabilities are shown in their place.

    Args:
        result: A prediction.
        count: How many frames to show, evenly spread.

    Raises:
        ValueError: When `count` is below 1.
        UserError: Without matplotlib.
    """
    if count < 1:
        raise ValueError(f"a plot shows at least one frame, got {count}")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("a plot needs matplotlib: pip install 'ecmvae[train]'") from error

    chosen = np.unique(np.linspace(0, len(result) - 1, min(count, len(result))).round().astype(int))
    numbers = {result.first_index + int(position) for position in chosen}
    frames = () if result.path is None else islice(stream_frames(result.path), max(numbers) + 1)
    pictures = {frame.index: frame.rgb() for frame in frames if frame.index in numbers}
    figure = Figure(figsize=(max(2.2 * len(chosen), 6.0), 4.0), layout="constrained")
    grid = figure.add_gridspec(2, len(chosen), height_ratios=(2, 1))
    for column, position in enumerate(chosen):
        answer = result.frame(int(position))
        axes = figure.add_subplot(grid[0, column])
        if result.path is None:
            axes.imshow(answer.probability, cmap="gray", vmin=0, vmax=1)
        else:
            axes.imshow(
                render.overlay(pictures[answer.index], answer.probability, mask=answer.mask)
            )
        axes.set_title(f"{answer.time:.2f} s")
        axes.set_axis_off()
    _draw_timeline(figure, figure.add_subplot(grid[1, :]), result)
    return figure


def _draw_timeline(figure: Figure, axes: Axes, result: VideoResult) -> None:
    """Loudness on the left scale; area and uncertainty, both small as a rule, on one of their own to the right."""
    axes.plot(result.timestamps, result.audio_activity, "C0", label="loudness (left)")
    axes.set(xlabel="seconds", ylabel="loudness", ylim=(0, 1))
    area, doubt = result.masked_area, result.key_uncertainty.mean(axis=(1, 2), dtype=np.float32)
    right = axes.twinx()
    right.plot(result.timestamps, area, "C1", label="masked share (right)")
    right.plot(result.key_times, doubt, "C2", label="uncertainty, bits (right)")
    right.set_ylim(0, 1.1 * max(float(area.max()), float(doubt.max()), 0.01))
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
