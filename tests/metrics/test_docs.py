"""docs/metrics.md: its example prints what stands there, and it names every metric and a function that exists."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from ecmvae.metrics import METRICS

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_the_example_prints_its_numbers(capsys):
    code, printed = (
        re.search(rf"```{kind}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[1]
        for kind in ("python", "text")
    )
    exec(compile(code, "metrics.md", "exec"), {})
    assert capsys.readouterr().out == printed


def test_numbers_by_hand():
    """Those of the example that arithmetic gives: 48 of 64 pixels overlap, 80 are in either; a frame has 400."""
    j = (1 + 0 + 48 / 80 + 48 / 80) / 4  # the silent frame, the missed one, and two shifted ones
    assert f"davis jf 0.6453, j {(j + 3 / 4) / 2:.4f}" in PAGE
    assert f"omniavs jf 0.2703, j {(j + 0) / 2:.4f}" in PAGE
    assert f"j {(4 * j + 396 / 400 + 3) / 8:.4f}, f 0.5000" in PAGE
    assert f"s_root {(4 / 1600) ** 0.5:.4f}, s_share {4 / 1600:.4f}" in PAGE
    # Steady pairs: frames 1-2 and 2-3 of the first clip, all three of the second; one appears, one vanishes.
    assert f"flicker {(1 + 0 + 1 + 0 + 0) / 5:.4f}, onset_latency 1.0000" in PAGE
    false_alarms, hits, misses = 2 * 16 + 4, 2 * 48, 64 + 2 * 16
    right = 3200 - false_alarms - hits - misses
    fdr = (misses / (misses + right) + false_alarms / (false_alarms + hits)) / 2
    assert f"fdr {fdr:.4f}" in PAGE
    # Above the median: 199 pixels, all 64 of the answer among them; the true ones outside it are higher up.
    assert f"mean_ciou {48 / (64 + 199 - 48):.4f}" in PAGE


def test_every_named_protocol_is_explained():
    named = {
        name for name in METRICS if any(f"{home}:" in METRICS._entries[name] for home in HOMES)
    }
    assert len(named) == 10
    for name in named:
        assert f"`{name}`" in PAGE, name


HOMES = [
    f"ecmvae.metrics.{each}"
    for each in ("jf", "null_set", "localisation", "extended", "detection", "temporal")
]


@pytest.mark.parametrize("home", HOMES)
def test_functions_exist(home):
    module = import_module(home)
    (row,) = re.findall(
        rf"^\|[^|]*\|(.*`{home.replace('.', '/')}\.py`[^|]*)\|(.*)\|$",
        PAGE.partition("## The functions")[2],
        re.MULTILINE,
    )
    names = re.findall(r"`(\w+)`", " ".join(row))
    assert names
    for name in names:
        assert hasattr(module, name), name
