"""Attack ecmvae, and count what it survives.

`python tools/stress.py media --seed 0 --runs 2000 --json docs/assets/reliability/media.json` makes 2,000 attacks of one
campaign and writes what was tried, survived and lost, with the command that repeats each loss.
`python tools/stress.py media --seed 0 --only 173` repeats one. Ctrl-C ends a campaign early, with the report of what
was tried. `python tools/stress.py media --again docs/assets/reliability/media.json` repeats the losses of a report;
those that survive now are counted as mended. `python tools/stress.py page` writes docs/reliability.md from the JSON
files.

Campaigns: kill, media, files, cli, web, load, leak.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from campaigns.base import Campaign, Trial

from ecmvae.files import replacing, write_json
from ecmvae.foreign_text import cut
from ecmvae.provenance import source_commit

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / "docs" / "assets" / "reliability"
PAGE = ROOT / "docs" / "reliability.md"

CAMPAIGNS = {
    "kill": "campaigns.kill:Kill",
    "media": "campaigns.media:Media",
    "files": "campaigns.files:Files",
    "cli": "campaigns.cli:CommandLines",
    "web": "campaigns.web:Web",
    "load": "campaigns.load:Load",
    "leak": "campaigns.leak:Leak",
}
"""Campaign -> its class."""


def campaign_named(name: str) -> type[Campaign]:
    """The class of a campaign."""
    module, _, attribute = CAMPAIGNS[name].partition(":")
    found: type[Campaign] = getattr(import_module(module), attribute)
    return found


def attack(
    name: str, seed: int, indices: Sequence[int], work: Path, progress: bool = True
) -> dict[str, Any]:
    """Make attacks of one campaign.

    Args:
        name: The campaign.
        seed: Seed of every choice.
        indices: Numbers of the attacks.
        work: Empty folder for whatever they write.
        progress: Print a line a loss, and one every 30 seconds.

    Returns:
        The report, ready for JSON.
    """
    started = told = time.monotonic()
    trials: list[tuple[int, Trial]] = []
    with campaign_named(name)(work, seed) as campaign:
        for index in indices:
            try:
                trial = campaign.trial(index)
            except KeyboardInterrupt:
                print(f"{name}: stopped after {len(trials)} of {len(indices)}", flush=True)
                break
            except Exception as error:  # a fault of the attack itself must be seen as well
                trial = Trial("campaign", f"{type(error).__name__}: {cut(str(error))}")
            here = str(work)  # differs from run to run
            trial = replace(
                trial,
                lost=trial.lost.replace(here, "WORK"),
                detail=trial.detail.replace(here, "WORK"),
            )
            trials.append((index, trial))
            if progress and trial.lost:
                print(
                    f"{name} {index} lost: {trial.kind}: {trial.lost} ({trial.detail})", flush=True
                )
            if progress and time.monotonic() - told > 30:
                told = time.monotonic()
                lost = sum(bool(each.lost) for _, each in trials)
                print(
                    f"{name}: {len(trials)} of {len(indices)}, {lost} lost, {told - started:.0f} s",
                    flush=True,
                )
        figures = dict(campaign.figures())
    return report(name, seed, trials, figures, time.monotonic() - started)


def report(
    name: str,
    seed: int,
    trials: Sequence[tuple[int, Trial]],
    figures: dict[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """What is written as JSON about a campaign."""
    lost = [(index, trial) for index, trial in trials if trial.lost]
    tried = Counter(trial.kind for _, trial in trials)
    kinds = {
        kind: {"tried": count, "lost": sum(trial.kind == kind for _, trial in lost)}
        for kind, count in sorted(tried.items())
    }
    peaks = [trial.megabytes for _, trial in trials if trial.megabytes is not None]
    times = [trial.seconds for _, trial in trials if trial.seconds is not None]
    if peaks:
        figures.setdefault("peak_megabytes", round(max(peaks), 1))
    if times:
        figures.setdefault("longest_cpu_seconds", round(max(times), 2))
    return {
        "campaign": name,
        "command": f"python tools/stress.py {name} --seed {seed} --runs {len(trials)}",
        "commit": source_commit(),
        "machine": f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
        "minutes": round(seconds / 60, 1),
        "tried": len(trials),
        "survived": len(trials) - len(lost),
        "lost": len(lost),
        "kinds": kinds,
        "figures": figures,
        "losses": [
            {
                "kind": trial.kind,
                "why": trial.lost,
                "detail": trial.detail,
                "repeat": f"python tools/stress.py {name} --seed {seed} --only {index}",
            }
            for index, trial in lost
        ],
    }


def again(found: dict[str, Any], work: Path) -> dict[str, Any]:
    """Repeat the losses of a report: what survives now is noted as mended, with the commit that survives it."""
    indices = {int(loss["repeat"].rpartition(" ")[2]): loss for loss in found["losses"]}
    seed = int(found["command"].partition("--seed ")[2].split()[0])
    repeated = attack(found["campaign"], seed, list(indices), work)
    still = {loss["repeat"] for loss in repeated["losses"]}
    mended = [
        {**loss, "commit": repeated["commit"]}
        for loss in found["losses"]
        if loss["repeat"] not in still
    ]
    kinds = {kind: dict(counts) for kind, counts in found["kinds"].items()}
    for loss in mended:
        kinds[loss["kind"]]["lost"] -= 1
    return {
        **found,
        "survived": found["survived"] + len(mended),
        "lost": len(repeated["losses"]),
        "kinds": kinds,
        "losses": repeated["losses"],
        "mended": [*found.get("mended", []), *mended],
    }


def page(reports: Sequence[dict[str, Any]]) -> str:
    """The tables of docs/reliability.md."""
    lines = [
        "| campaign | tried | survived | lost | commit |",
        "|---|---|---|---|---|",
    ]
    for each in reports:
        lines.append(
            f"| [`{each['campaign']}`](#{each['campaign']}) | {each['tried']:,} | {each['survived']:,} "
            f"| {each['lost']} | {str(each['commit'])[:7]} |"
        )
    for each in reports:
        module = sys.modules[campaign_named(each["campaign"]).__module__]
        lines += ["", f"### {each['campaign']}", "", (module.__doc__ or "").strip(), ""]
        lines += [f"`{each['command']}`, {each['minutes']} minutes on {each['machine']}.", ""]
        figures = ", ".join(
            f"{name.replace('_', ' ')}: {value:,}" for name, value in each["figures"].items()
        )
        lines += [f"Figures: {figures}.", ""]
        lines += ["| kind | tried | lost |", "|---|---|---|"]
        lines += [
            f"| {kind} | {count['tried']} | {count['lost']} |"
            for kind, count in each["kinds"].items()
        ]
        for loss in each.get("mended", ()):
            lines += ["", f"Lost in this run, survives as of {loss['commit'][:7]}: {loss['kind']}: {loss['why']}; "
                      f"`{loss['repeat']}`."]  # fmt: skip
        for loss in each["losses"]:
            lines += [
                "",
                f"Lost: {loss['kind']}: {loss['why']} ({loss['detail']}); repeat with `{loss['repeat']}`.",
            ]
    return "\n".join(lines)


def write_page() -> None:
    """Renew what stands below the marker in docs/reliability.md."""
    found = [path for name in CAMPAIGNS if (path := REPORTS / f"{name}.json").is_file()]
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in found]
    marker = "<!-- written by tools/stress.py page -->"
    head, _, _ = PAGE.read_text(encoding="utf-8").partition(marker)
    with replacing(PAGE) as part:
        part.write_text(f"{head}{marker}\n\n{page(reports)}\n", encoding="utf-8")


def main(words: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 1 if anything was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("campaign", choices=[*CAMPAIGNS, "page"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--runs", type=int, help="number of attacks; each campaign has its own default"
    )
    parser.add_argument("--only", type=int, help="repeat the attack of this number")
    parser.add_argument("--json", type=Path, help="write the report here")
    parser.add_argument("--again", type=Path, help="repeat the losses of this report, and renew it")
    options = parser.parse_args(words)
    if options.campaign == "page":
        write_page()
        return 0
    runs = campaign_named(options.campaign).runs if options.runs is None else options.runs
    indices = range(runs) if options.only is None else [options.only]
    with tempfile.TemporaryDirectory(prefix="ecmvae-stress-") as work:
        if options.again is None:
            found = attack(options.campaign, options.seed, indices, Path(work))
        else:
            found = again(json.loads(options.again.read_text(encoding="utf-8")), Path(work))
    target = options.json or options.again
    if target is not None:
        write_json(target, found)
    print(
        f"{found['campaign']}: {found['tried']} tried, {found['survived']} survived, {found['lost']} lost"
    )
    for name, value in found["figures"].items():
        print(f"  {name}: {value}")
    return 1 if found["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
