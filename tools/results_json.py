"""Keep measurements in docs/results.json: results_json.py docs/results.json --model NAME --report FILE --command C.

FILE is what `ecmvae evaluate --folds` wrote (folds/report.json). Each number becomes an entry with its 95 % interval by
picture, the number of pictures and clips behind it, the command, the seed and the commit of the code that measured it.
Entries that an earlier report gave of the same model and command are replaced; the others stay.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ecmvae.files import write_json


def entries(report: Mapping[str, Any], model: str, command: str) -> Iterator[dict[str, Any]]:
    """The measurements of a report of folds, each with what is needed to repeat it."""
    about = report["about"]
    made = {"command": command, "seed": about["seed"], "commit": about["commit"]}

    def entry(name: str, value: Any, pictures: int | None, clips: int | None) -> dict[str, Any]:
        known = value if isinstance(value, Mapping) else {"value": value, "low": None, "high": None}
        counted = {"pictures": pictures, "clips": clips}
        return {"model": model, "name": name, **known, **counted, **made}

    for row, scores in report["rows"].items():
        counts = scores["pictures"], scores["clips"]
        for name in ("miou", "fscore", "right_of_two"):
            if scores[name] is not None:
                yield entry(f"{row}: {name}", scores[name], *counts)
        for name, value in report["uncertainty"].get(row, {}).items():
            if value is not None:
                yield entry(f"{row}: {name}", value, *counts)
    for sound, share in report["false_masks"].items():
        yield entry(
            f"false masks: {sound}", share, None, min(about["clips"], about["wrong_sounds"])
        )
    if (pairs := report["photographs"]) is not None:
        yield entry(
            "photographs: right_of_two", pairs["right_of_two"], pairs["photographs"], pairs["pairs"]
        )
    if (latency := report.get("latency")) is not None:
        counts = latency["pictures"], latency["clips"]
        for name in ("marked", "on", "off"):
            if latency[name] is not None:
                yield entry(f"latency: {name}", latency[name], *counts)


def merge(
    before: list[dict[str, Any]], new: list[dict[str, Any]], model: str, command: str
) -> list[dict[str, Any]]:
    """The entries of other models and commands, then the new ones."""
    return [each for each in before if (each["model"], each["command"]) != (model, command)] + new


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="docs/results.json; made if it is missing")
    parser.add_argument("--model", required=True, help="its name")
    parser.add_argument("--report", type=Path, required=True, help="a report.json of --folds")
    parser.add_argument("--command", required=True, help="that measured it")
    given = parser.parse_args(arguments)
    report = json.loads(given.report.read_text(encoding="utf-8"))
    before = json.loads(given.out.read_text(encoding="utf-8")) if given.out.is_file() else []
    new = list(entries(report, given.model, given.command))
    write_json(given.out, merge(before, new, given.model, given.command))
    print(f"{given.out}: {len(new)} measurements of {given.model}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
