"""The benchmark of prediction: its rows run, and the first mask comes before the run is over. Times are not checked."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "benchmark_predict.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_predict", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_medians_with_their_range(tool: ModuleType) -> None:
    rounds = [{"cpu_s": cpu, "peak_mb": 10 * cpu} for cpu in (3.0, 1.0, 2.5)]
    assert tool.summary(rounds) == {
        "median": {"cpu_s": 2.5, "peak_mb": 25.0},
        "least": {"cpu_s": 1.0, "peak_mb": 10.0},
        "most": {"cpu_s": 3.0, "peak_mb": 30.0},
    }


def test_a_run_without_a_first_mask_is_no_figure(tool: ModuleType) -> None:
    whole = {"cpu_s": 5.0, "wall_s": 6.0, "peak_mb": 300.0}
    found = tool.until_first_mask(whole, "shard 1\nfirst mask 1.5 1.25\ndone\n")
    assert found == {"cpu_s": 1.25, "wall_s": 1.5, "peak_mb": 300.0}
    with pytest.raises(ValueError, match="not enough values"):
        tool.until_first_mask(whole, "ecmvae: error")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_row_runs(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "ENGINES", ("onnx",))
    monkeypatch.setattr(tool, "STARTS", {"help": ["predict", "--help"]})
    rows = tool.commands({"here": sys.executable}, tool.EXAMPLE, Path("clip.mp4"), "out")
    assert list(rows) == [
        "here: help",
        "here: decode, convert, encode",
        "here: predict",
        "here: first mask, onnx",
    ]
    monkeypatch.setattr(tool, "ENGINES", ("onnx", "eager"))
    found = tool.measure(1, 1, None, tool.EXAMPLE)["processes"]
    assert (
        found["here: first mask, onnx"]["median"]["cpu_s"]
        < found["here: predict"]["median"]["cpu_s"]
    )
    assert all(rows["least"]["cpu_s"] > 0 for rows in found.values())
