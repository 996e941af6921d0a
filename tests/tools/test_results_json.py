"""Measurements with what is needed to repeat them, from a report as `ecmvae evaluate --folds` writes it."""

import json
from pathlib import Path

from results_json import main

ABOUT = {"seed": 3, "commit": "abc1234", "clips": 100, "wrong_sounds": 50}
ROW = {
    "pictures": 39,
    "recordings": 49,
    "clips": 100,
    "miou": {"value": 0.8, "low": 0.7, "high": 0.9},
    "fscore": {"value": 0.9, "low": 0.85, "high": 0.95},
    "right_of_two": None,
}
REPORT = {
    "about": ABOUT,
    "rows": {"known": ROW},
    "uncertainty": {"known": {"calibration_error": 0.01, "spread": None}},
    "false_masks": {"speech": {"value": 0.1, "low": 0.0, "high": 0.2}},
    "photographs": None,
    "latency": {
        "pictures": 12,
        "clips": 20,
        "marked": {"value": 0.9, "low": 0.8, "high": 1.0},
        "on": {"value": 0.1, "low": 0.0, "high": 0.2},
        "off": None,
    },
}


def _write(folder: Path, report: dict, model: str) -> list[dict]:
    (folder / "report.json").write_text(json.dumps(report))
    out = folder / "results.json"
    given = ["--model", model, "--report", str(folder / "report.json"), "--command", "evaluate"]
    assert main([str(out), *given]) == 0
    return json.loads(out.read_text())


def test_each_number_says_how_it_was_measured(tmp_path: Path) -> None:
    found = _write(tmp_path, REPORT, "small")
    assert found[0] == {
        "model": "small",
        "name": "known: miou",
        "value": 0.8,
        "low": 0.7,
        "high": 0.9,
        "pictures": 39,
        "clips": 100,
        "command": "evaluate",
        "seed": 3,
        "commit": "abc1234",
    }
    assert [each["name"] for each in found[1:]] == [
        "known: fscore",
        "known: calibration_error",
        "false masks: speech",
        "latency: marked",
        "latency: on",
    ]
    assert [each["clips"] for each in found[1:]] == [100, 100, 50, 20, 20]
    assert found[2]["low"] is None


def test_a_second_report_replaces_its_own_entries_alone(tmp_path: Path) -> None:
    _write(tmp_path, REPORT, "small")
    _write(tmp_path, REPORT, "large")
    better = {**REPORT, "false_masks": {}, "latency": None}
    found = _write(tmp_path, better, "small")
    assert [each["model"] for each in found] == ["large"] * 6 + ["small"] * 3
