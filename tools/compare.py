"""Compare models on the same clips: scores under every protocol, paired differences, and pictures.

`python tools/compare.py runs/ecmvae-001 runs/tpavi-001 --data AVSBench` scores each model as `ecmvae evaluate` does and
writes into --out:

- `compare.md`: a row a model with the scores of every protocol, what the right sound is worth, and the difference of
  each model to the first one clip by clip, with a 95 % bootstrap interval over pictures (over clips where pictures are
  unknown);
- `TASK.png`: clips at equal steps through the data set, none of them chosen by hand; for each clip its frames, the
  truth, and the masks of every model.

A model is anything that `--checkpoint` of `ecmvae evaluate` takes: a run, a model folder, a name, concepts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image, ImageDraw
from torch import Tensor
from torch.utils.data import Subset

from ecmvae.data.clips import ClipSource
from ecmvae.data.layout import FRAMES
from ecmvae.data.loading import load_clips
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.data.sets.records import records_in
from ecmvae.device import choose_device
from ecmvae.errors import UserError
from ecmvae.evaluation.evaluator import EvaluateSettings, clip_batches, evaluate
from ecmvae.evaluation.inference import device_of, eval_mode, latent_draws, maps_of
from ecmvae.evaluation.report import Report
from ecmvae.evaluation.report_files import decimal, markdown_table, new_report_folder
from ecmvae.files import replacing
from ecmvae.metrics.by_picture import cluster_bootstrap
from ecmvae.metrics.metric_set import numbers
from ecmvae.models.base import Segmenter
from ecmvae.models.checkpoint import load_model
from ecmvae.models.decoder import foreground_logits
from ecmvae.prediction.render import overlay
from ecmvae.provenance import source_commit

MARGIN, LABEL = 8, 90
"""Pixels between pictures, and of the column with the names of the rows."""


@dataclass(frozen=True)
class Scored:
    """A model and its report on one task."""

    name: str
    report: Report


def scores_table(models: Sequence[Scored]) -> list[str]:
    """A row a model: the numbers of every protocol under its own sound, and what that sound is worth."""
    labels = models[0].report.labels
    rows, header = [], ["model"]
    for place, each in enumerate(models):
        cells: list[str] = []
        for metric, label in labels.items():
            value = each.report.scores["real"].get(metric)
            if not label or value is None:
                continue
            if place == 0:
                header += [heading for heading, _ in numbers(value, metric, label=label)]
            cells += [decimal(number) for _, number in numbers(value, metric)]
        gains = each.report.audio_gain
        if place == 0:
            header += [f"gain over {sound} sound" for sound in gains]
        rows.append((each.name, *cells, *map(decimal, gains.values())))
    return markdown_table(header, rows)


def differences_table(models: Sequence[Scored]) -> list[str]:
    """How much better the first model is than each other one, clip by clip."""
    first, *others = models
    ours = first.report.clips["real"]
    pictures = [clip.picture or clip.name for clip in ours]
    rows = []
    for other in others:
        theirs = {clip.name: clip for clip in other.report.clips["real"]}
        cells = []
        for score in ("miou", "fscore"):
            values = [getattr(clip, score) - getattr(theirs[clip.name], score) for clip in ours]
            cells.append(str(cluster_bootstrap(np.array(values), np.ones(len(values)), pictures)))
        better = sum(clip.miou > theirs[clip.name].miou for clip in ours)
        rows.append((f"{first.name} - {other.name}", *cells, f"{better} of {len(ours)}"))
    return markdown_table(("difference", "mIoU", "F", "clips on which the first is better"), rows)


def masks_of(
    model: Segmenter, clips: ClipSource, settings: EvaluateSettings
) -> list[Bool[Tensor, "t h w"]]:
    """The model's masks of clips, at the size of its input."""
    found: list[Tensor] = []
    with eval_mode(model):
        for _, batch in clip_batches(clips, settings, ClipPreprocessor.of(model)):
            there = batch.to(device_of(model))
            audio = there.without_padding(model.encode_audio(there.audio))
            draws = latent_draws(model, there, audio, features=maps_of(model, there))
            logits = torch.stack([foreground_logits(draw).cpu() for draw in draws]).mean(0)
            found += list((logits[:, :, 0] > 0).unbind())
    return found


def sheet(clips: ClipSource, rows: dict[str, list[Bool[Tensor, "t h w"]]]) -> Image.Image:
    """The picture: for each clip a line of frames, one of the truth and one for each model.

    Args:
        clips: The clips, with masks.
        rows: Name of a model -> its masks of each clip.
    """
    height, width = clips[0].frames.shape[-2:]
    count = max(len(clips[number].frames) for number in range(len(clips)))
    lines = 2 + len(rows)
    size = (LABEL + count * (width + MARGIN), len(clips) * (lines * (height + MARGIN) + 2 * MARGIN))
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for number in range(len(clips)):
        clip = clips[number]
        assert clip.masks is not None
        frames = clip.frames.permute(0, 2, 3, 1).contiguous().numpy()
        masks = {
            "truth": clip.masks[:, 0] > 0.5,
            **{name: found[number] for name, found in rows.items()},
        }
        top = number * (lines * (height + MARGIN) + 2 * MARGIN)
        for line, (name, of) in enumerate([("frame", None), *masks.items()]):
            y = top + line * (height + MARGIN)
            draw.text((2, y + 4), name[:14], fill="black")
            for column, frame in enumerate(frames):
                drawn = frame if of is None else _marked(frame, of[column].numpy())
                picture.paste(Image.fromarray(drawn), (LABEL + column * (width + MARGIN), y))
    return picture


def _marked(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The frame with a mask, which is enlarged or shrunk to it."""
    if mask.shape != frame.shape[:2]:
        mask = np.asarray(Image.fromarray(mask).resize(frame.shape[1::-1]))
    return overlay(frame, mask.astype(np.float32), mask=mask)


def names_of(paths: Sequence[str]) -> list[str]:
    """Short names for models: the last part of each path, with a number where several are called the same."""
    short = [
        Path(path).parent.name if Path(path).name == "best" else Path(path).name for path in paths
    ]
    return [
        name if short.count(name) == 1 else f"{name} ({number + 1})"
        for number, name in enumerate(short)
    ]


def compare(options: argparse.Namespace, task: str) -> tuple[list[str], Image.Image]:
    """Score every model on one task; the tables, and the picture."""
    settings = EvaluateSettings(batch_size=options.batch_size, seed=options.seed)
    scored: list[Scored] = []
    rows: dict[str, list[Bool[Tensor, "t h w"]]] = {}
    shown: ClipSource | None = None
    for name, path in zip(names_of(options.models), options.models, strict=True):
        model = load_model(path, device=choose_device(options.device))
        assert model.config is not None
        frames = min(model.config.data.num_frames, FRAMES)
        data = replace(model.config.data, name=task, root=options.data, num_frames=frames)
        clips = load_clips(data, options.split)
        if options.limit is not None:
            clips = _part(clips, range(min(options.limit, len(clips))))
        report = evaluate(model, clips, settings, about={"task": task, "split": options.split})
        if report.kind != "masks":
            raise UserError(
                f"{task} has no masks to compare: compare the reports of ecmvae evaluate"
            )
        scored.append(Scored(name, report))
        steps = np.linspace(0, len(clips) - 1, min(options.clips, len(clips)))
        chosen = _part(clips, np.unique(steps.round().astype(int)).tolist())
        shown = shown or chosen
        rows[name] = masks_of(model, chosen, settings)
    assert shown is not None
    text = [
        f"## {task}, {options.split}: {scored[0].report.about['clips']} clips",
        "",
        *scores_table(scored),
    ]
    if len(scored) > 1:
        text += ["", *differences_table(scored)]
    return text, sheet(shown, rows)


def _part(clips: ClipSource, indices: Sequence[int]) -> ClipSource:
    return Subset(clips, indices)  # type: ignore[arg-type,return-value]  # it is a source of clips


def main(words: Sequence[str] | None = None) -> int:
    """Compare what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "models", nargs="+", help="runs, model folders or names; differences are to the first"
    )
    parser.add_argument("--data", required=True, help="folder of the data set")
    parser.add_argument(
        "--task",
        default="auto",
        help="s4, ms3 or another data set; auto = all that the folder holds",
    )
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, help="score only the first clips")
    parser.add_argument("--clips", type=int, default=4, help="clips in the picture")
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--out", default="runs/compare", help="folder to make; numbered when it exists"
    )
    options = parser.parse_args(words)
    given = " ".join(sys.argv[1:] if words is None else words)
    text = [
        "# Comparison",
        "",
        f"`python tools/compare.py {given}`, commit {source_commit() or 'unknown'}",
    ]
    try:
        tasks = records_in(options.data) if options.task == "auto" else [options.task]
        if not tasks:
            raise UserError(f"{options.data} holds no data set that is known: name it with --task")
        found = {task: compare(options, task) for task in tasks}
    except UserError as error:
        print(f"compare: error: {error}", file=sys.stderr)
        return 2
    folder = new_report_folder(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    for task, (tables, picture) in found.items():
        text += ["", *tables]
        with replacing(folder / f"{task.replace(':', '.')}.png") as part:
            picture.save(part)
    with replacing(folder / "compare.md") as part:
        part.write_text("\n".join(text) + "\n", encoding="utf-8")
    print("\n".join(text))
    print(f"written: {folder}/compare.md and a picture of each task")
    return 0


if __name__ == "__main__":
    sys.exit(main())
