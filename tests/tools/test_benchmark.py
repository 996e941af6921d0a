"""The benchmark runs: every figure from a process of its own, ratios to the first variant. Times are not looked at."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmark import main

TOOL = Path(__file__).parents[2] / "tools" / "benchmark.py"


def figures(out: Path, *rows: str) -> dict[str, Any]:
    subprocess.run(
        [sys.executable, str(TOOL), *rows, "--quick", "--json", str(out)],
        check=True,
        cwd=TOOL.parents[1],
    )
    content: dict[str, Any] = json.loads(out.read_text())
    return content


@pytest.mark.slow
def test_a_row_compares_its_variants_with_the_first(tmp_path: Path) -> None:
    found = figures(tmp_path / "out.json", "tpavi")
    explicit, ours = found["rows"]["tpavi"].values()
    assert found["ratios"]["tpavi"]["explicit L x L"] == {"cpu_s": 1.0, "peak_mb": 1.0}
    ratio = found["ratios"]["tpavi"]["reassociated"]
    assert ratio["cpu_s"] == pytest.approx(ours["cpu_s"] / explicit["cpu_s"])  # one round
    assert explicit["peak_mb"] > 100
    assert found["machine"]["cores"] > 0


def test_an_unknown_row_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(TOOL), "speed"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "no such row: speed; choose from step, forward" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_row_runs(tmp_path: Path) -> None:
    assert set(figures(tmp_path / "out.json")["rows"]) == {
        "step",
        "forward",
        "tpavi",
        "fscore",
        "loop",
        "data",
    }
