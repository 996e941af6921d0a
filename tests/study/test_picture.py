"""The picture shows the numbers of the table where they belong."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from study_folders import make_run

from ecmvae.study.intervals import Interval
from ecmvae.study.picture import _points, draw
from ecmvae.study.runs import collect
from ecmvae.study.table import StudyTable


def test_points_stand_at_their_values() -> None:
    axes = Figure().subplots()
    _points(
        axes,
        [Interval(0.5, 0.4, 0.7), None, Interval(0.2, None, None)],
        [{0: 0.45, 1: 0.55}, {}, {0: 0.2}],
    )
    drawn = [
        (list(map(float, line.get_xdata())), list(map(float, line.get_ydata())))
        for line in axes.lines
    ]
    assert drawn == [
        ([0.45, 0.55], [0.18, 0.18]),
        ([0.4, 0.7], [0.0, 0.0]),
        ([0.5], [0.0]),
        ([0.2], [2.18]),
        ([0.2], [2.0]),
    ]


def test_it_is_a_picture_with_something_in_it(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path / f"a-{seed}", 0.2 + seed / 10, train__seed=seed)
        make_run(tmp_path / f"b-{seed}", 0.3, train__seed=seed, loss__kl=0.0)
    out = draw(StudyTable.of(collect([tmp_path])), tmp_path / "out" / "study.png")
    pixels = np.asarray(Image.open(out).convert("RGB")).astype(int)
    blue = (abs(pixels - (0x1F, 0x5F, 0xA8)).sum(axis=2) < 20).sum(axis=0)
    left, right = np.array_split(blue, 2)
    assert left.sum() > 100
    assert right.sum() > 50
