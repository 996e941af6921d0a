"""How a run differs from what was published: the authors' code, the text of the paper, and the recipe it is based on.

`published.yaml` beside this file says what the authors' code and papers do, each statement with its source. Settings
that it does not name are ours alone: the authors' code has no such thing, which is our default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ecmvae.config import Config, load_config
from ecmvae.config_reader import by_dotted_name
from ecmvae.files import replacing
from ecmvae.foreign_text import read_yaml
from ecmvae.hub.client import sha256_of
from ecmvae.training.settings import without_effect
from ecmvae.visual import BACKBONES, TimmModel

FILE = "differs.md"
"""What a run's folder keeps of this."""

PUBLISHED = Path(__file__).with_name("published.yaml")

Origin = Literal["released", "paper"]

_ELSEWHERE = (
    *(
        "data.root",
        "data.workers",
        "train.out",
        "train.name",
        "train.device",
        "train.loggers",
        "train.log_images",
    ),
    *("train.strategy", "train.activation_checkpointing", "train.deterministic"),
    *("model.name", "data.name", "model.visual.name", "model.visual.weights"),
)
"""Settings that change nothing of what is learned, and those that have no default to compare with."""

_BACKBONES = {"pvt_v2_b5": "pvt", "resnet50": "resnet50"}
"""The authors' two backbones, by their names without a tag, and how recipes are called after them."""


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same here and there."""

    what: str
    """A setting, by its dotted name, or in words what no setting changes."""
    here: str
    there: str
    source: str


@dataclass
class Comparison:
    """A run beside one origin."""

    settings: list[Difference] = field(default_factory=list)
    """What the run sets otherwise."""
    fixed: list[Difference] = field(default_factory=list)
    """What no setting changes."""
    open: list[Difference] = field(default_factory=list)
    """What the origin leaves open; `there` says what."""
    known: bool = False
    """Whether there is anything to compare with."""


def compare(config: Config, origin: Origin) -> Comparison:
    """Compare a configuration with the authors' code ("released") or with the text of the paper ("paper").

    Both are known for ECMVAE and AVSBench's TPAVI on S4 and MS3, for TPAVI also on AVSS. The paper's statements hold on
    any data.
    """
    here, idle = by_dotted_name(config.to_dict()), without_effect(config)
    found = Comparison()
    wanted: dict[str, tuple[Any, str]] = {}
    if origin == "released":
        if not _recipe(config):
            return found
        plain = by_dotted_name(Config().to_dict())
        wanted = {
            name: (plain.get(name), "not in the authors' code")
            for name in here
            if name not in _ELSEWHERE
        }
    for group in _published()[origin]:
        if not all(_matches(here[name], pattern) for name, pattern in group["when"].items()):
            continue
        source, found.known = group["source"], True
        wanted |= {name: (value, source) for name, value in group.get("settings", {}).items()}
        found.fixed += [
            Difference(what, ours, theirs, source) for what, ours, theirs in group.get("fixed", ())
        ]
        found.open += [
            Difference(name, _shown(here[name]), unknown, source)
            for name, unknown in group.get("open", {}).items()
        ]
    found.settings = [
        Difference(name, _shown(here.get(name)), _says(value), source)
        for name, (value, source) in wanted.items()
        if name not in idle and not _same(here.get(name), value)
    ]
    return found


def from_recipe(config: Config, recipe: Config) -> list[Difference]:
    """Settings that a run has otherwise than the recipe it is based on."""
    here, there = by_dotted_name(config.to_dict()), by_dotted_name(recipe.to_dict())
    names = dict.fromkeys([*here, *there])
    return [
        Difference(name, _shown(here.get(name)), _shown(there.get(name)), "")
        for name in names
        if here.get(name) != there.get(name)
    ]


def differences(config: Config, files: Sequence[str | Path] = ()) -> str:
    """The three comparisons as a page of Markdown.

    Args:
        config: The run's configuration.
        files: The YAML files that it was made from. The first one is its recipe; others and options are laid over it.

    Raises:
        UserError: If the recipe cannot be read.
    """
    recipe = _recipe(config)
    parts = ["# How this run differs", _about(config, recipe)]
    for origin, title in (("released", "the authors' code"), ("paper", "the paper's text")):
        if (found := compare(config, origin)).known:  # type: ignore[arg-type]  # one of the two
            parts += [f"## From {title}", *tables(found)]
    parts.append("## From its own recipe")
    if not files:
        parts.append("None: it was started without a configuration file.")
    else:
        rows = from_recipe(config, load_config(files[0]))
        parts.append(
            table(
                ("setting", "here", f"`{files[0]}`"),
                [(code(r.what), r.here, r.there) for r in rows],
            )
        )
    return "\n\n".join(parts) + "\n"


def write_differences(folder: Path, config: Config, files: Sequence[str | Path] = ()) -> None:
    """Write `differences` and the weights that a run starts from into its folder, as ``differs.md``."""
    rows = [(code(name), source, digest) for name, source, digest in _weights(config)]
    weights = table(("setting", "weights", "SHA-256"), rows)
    with replacing(folder / FILE) as part:
        part.write_text(
            f"{differences(config, files)}\n## Weights it starts from\n\n{weights}\n",
            encoding="utf-8",
        )


def tables(found: Comparison) -> list[str]:
    """A comparison as Markdown: what settings change, what none changes, and what is open."""
    parts = [_table(found.settings, "setting", "there")]
    if found.fixed:
        parts += ["Whatever the settings:", _table(found.fixed, "what", "there")]
    if found.open:
        parts += ["Left open there:", _table(found.open, "setting", "what is open")]
    return parts


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; "Nothing." without rows."""
    if not rows:
        return "Nothing."
    lines = [
        head,
        ["---"] * len(head),
        *([cell.replace("|", "\\|") for cell in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(name: str) -> str:
    """A setting's name as code; words as they are."""
    return f"`{name}`" if "." in name else name


def _table(rows: Sequence[Difference], what: str, there: str) -> str:
    return table(
        (what, "here", there, "source"),
        [(code(row.what), row.here, row.there, row.source) for row in rows],
    )


def _about(config: Config, recipe: str) -> str:
    """Which published recipe a run is compared with."""
    if recipe:
        return f"Compared with what is known of the published run that `configs/{recipe}.yaml` follows."
    kind = "_tpavi" if config.model.name == "tpavi" else "_pvt"
    task = "ms3" if config.data.kind == "ms3" else "s4"
    run = f"{config.model.name} with {config.model.visual.name} on {config.data.name}"
    return f"Nothing was published for {run}; the nearest recipe is `configs/reproduce/{task}{kind}.yaml`."


def _recipe(config: Config) -> str:
    """The recipe for this network and data, below configs; "" where nothing was published."""
    model, task = config.model, config.data.name
    backbone = _BACKBONES.get(model.visual.name.partition(".")[0])
    if (model.name, task, backbone) == ("tpavi", "avss", "pvt"):
        return "avss_tpavi"
    if backbone is None or task not in ("s4", "ms3") or model.name not in ("ecmvae", "tpavi"):
        return ""
    if model.name == "ecmvae":
        return f"reproduce/{task}_{backbone}"
    return f"reproduce/{task}_tpavi" + ("" if backbone == "pvt" else f"_{backbone}")


def _weights(config: Config) -> list[tuple[str, str, str]]:
    """Setting, weights and SHA-256 of what a run starts from."""
    visual = config.model.visual
    entry = BACKBONES.get(visual.name) if visual.name in BACKBONES else None
    rows = []
    for name, source in (
        ("model.visual.weights", visual.weights),
        ("model.audio.weights", config.model.audio.weights),
        ("train.initial_checkpoint", config.train.initial_checkpoint),
    ):
        if source is None:
            rows.append((name, "none", ""))
        elif name == "model.visual.weights" and source == "timm":
            tag = entry.timm_name if isinstance(entry, TimmModel) else visual.name
            rows.append((name, f"timm's {tag}", "(by tag)"))
        else:
            file = next((path for path in _candidates(Path(source)) if path.is_file()), None)
            rows.append((name, source, "" if file is None else sha256_of(file)))
    return rows


def _candidates(path: Path) -> tuple[Path, ...]:
    """Where the weights of a file, a model folder or a run lie."""
    return path, path / "model.safetensors", path / "best" / "model.safetensors"


@cache
def _published() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = read_yaml(PUBLISHED)
    return found


def _matches(value: Any, patterns: Any) -> bool:
    return any(fnmatch(str(value), pattern) for pattern in str(patterns).split("|"))


def _same(here: Any, there: Any) -> bool:
    if not isinstance(there, Mapping) or not there.keys() & {"any", "above"}:
        return bool(here == there)
    if "above" in there:
        return isinstance(here, int | float) and here > there["above"]
    return any(
        here == each or (isinstance(each, str) and fnmatch(str(here), each))
        for each in there["any"]
    )


def _says(there: Any) -> str:
    return str(there["says"]) if isinstance(there, Mapping) and "says" in there else _shown(there)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "none" if value is None else str(value).lower()
    return str(value)
