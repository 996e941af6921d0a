"""Turn a finished run into a model that comes with the wheel: package_model.py RUN --name NAME --command C --commit H.

RUN is what `ecmvae demo` leaves (best/, scores/, data/), or a run of `ecmvae train` with scores that `ecmvae evaluate`
wrote below RUN/scores and a written AVS-Collage as --data. The folder ecmvae/weights/NAME gets config.yaml,
model.safetensors in 16 bits, model.onnx (the graph), metadata.json and README.md, the card;
ecmvae/weights/models.yaml gets its SHA-256. An older model of that name is replaced. Nothing is written when the
weights exceed 20 MB, when 16 bits change the masks, or when a score was measured on other weights.

    python tools/package_model.py runs/small --name collage-small --command "ecmvae demo ..." --commit a2cd40c
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml
from model_card import LICENCE, CardFacts, summary, write_card

from ecmvae.config import Config
from ecmvae.data.avsbench import AVSBenchDataset
from ecmvae.data.collage.sources import CollageSources
from ecmvae.data.layout import tasks_in
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.errors import UserError
from ecmvae.files import replacing
from ecmvae.hub.find import find_model_folder, weights_sha256
from ecmvae.hub.named_models import INDEX_FILE, METADATA_FILE, PACKAGED, WEIGHTS_FILE
from ecmvae.metrics.functional import avsbench_iou
from ecmvae.models import ECMVAE
from ecmvae.models.checkpoint import load_model, save_model
from ecmvae.prediction.export import write_graph
from ecmvae.provenance import __version__
from ecmvae.types import AVBatch

MAX_BYTES = 20_000_000
MAX_CHANGE = 0.002
"""Largest change of mIoU that 16 bits may cost."""
_HEADER = "# The models that can be asked for by name (ecmvae/registry.py). Written by tools/package_model.py.\n"


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """What storing weights in 16 bits changed.

    Attributes:
        clips: On how many clips.
        miou: Largest change of mIoU on a data set, a fraction.
        logit: Largest change of a logit.
        flipped: Share of the pixels that changed sides of the threshold.
    """

    clips: int
    miou: float
    logit: float
    flipped: float

    def __str__(self) -> str:
        return (
            f"storing them in 16 bits changed mIoU by {self.miou:.5f}, a logit by at most {self.logit:.4f} and "
            f"{self.flipped:.5%} of the pixels, on {self.clips} of these clips"
        )


def package(
    run: Path,
    name: str,
    *,
    command: str,
    commit: str,
    data: Path | None = None,
    split: str = "test_seen",
    clips: int = 40,
    home: Path = PACKAGED,
    sources: CollageSources | None = None,
) -> Path:
    """Write the folder and register it.

    Args:
        run: The finished run.
        name: Of the model.
        command: Which trained it, for the card.
        commit: Of the code that did.
        data: A written AVS-Collage on which the rounding is measured; None = RUN/data.
        split: Of that.
        clips: Clips a data set to measure it on.
        home: Folder of packaged models.
        sources: What the training clips were composed from; None = those of the configuration.

    Returns:
        The folder.

    Raises:
        UserError: If the run is not a model, is too large, changes in 16 bits, or lacks scores of its own.
    """
    best = find_model_folder(run)
    full = load_model(best)
    config = full.config
    if config.data.name != "collage":
        raise UserError(
            f"{run} was trained on {config.data.name}: the card's sources are known for AVS-Collage only"
        )
    if full.audio_encoder is None:
        raise UserError(f"{run} has no audio encoder: it could not hear")
    sources = sources or CollageSources.fetch(config.data.root).fold(
        config.data.fold, config.data.folds
    )
    reports = _reports(run / "scores", weights_sha256(best))
    trained = json.loads((best / METADATA_FILE).read_text(encoding="utf-8"))
    trained = {name: value for name, value in trained.items() if name not in full.metadata()}
    metadata = {"command": command, "commit": commit, "ecmvae": __version__, "trained": trained}
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / name
        save_model(full, folder, _portable(config), half=True)
        size = (folder / WEIGHTS_FILE).stat().st_size
        if size > MAX_BYTES:
            raise UserError(
                f"{name} would be {size / 1e6:.1f} MB in 16 bits: {MAX_BYTES / 1e6:.0f} MB is the limit"
            )
        rounding = measure_rounding(full, load_model(folder), data or run / "data", split, clips)
        print(f"{name}: {size / 1e6:.1f} MB; {rounding}")
        if rounding.miou > MAX_CHANGE:
            raise UserError(
                f"{name} loses too much in 16 bits: mIoU changes by {rounding.miou:.4f}"
            )
        facts = CardFacts(
            name=name, config=config, command=command, commit=commit, trained=trained, reports=reports,
            rounding=str(rounding), sources=sources,
        )  # fmt: skip
        saved = save_model(
            full, home / name, _portable(config), {**metadata, "rounding": asdict(rounding)}, half=True,
            card=write_card(facts),
        )  # fmt: skip
    write_graph(saved)
    entry = {
        "summary": summary(config),
        "source": "package",
        "sha256": weights_sha256(saved),
        "size": size,
        "licence": LICENCE,
    }
    register(home / INDEX_FILE, name, entry)
    return saved


def register(index: Path, name: str, entry: dict[str, Any]) -> None:
    """Put an entry into the list, in the place of an older one of that name; the others stay as they are."""
    entries = (yaml.safe_load(index.read_text(encoding="utf-8")) or {}) if index.is_file() else {}
    with replacing(index) as part:
        part.write_text(
            _HEADER + yaml.safe_dump({**entries, name: entry}, sort_keys=False, width=120), "utf-8"
        )


@torch.no_grad()
def measure_rounding(full: ECMVAE, halved: ECMVAE, data: Path, split: str, clips: int) -> Rounding:
    """Compare a model with what came back of it from 16 bits.

    Raises:
        UserError: When there is no such data.
    """
    knobs, tasks = full.config.data, tasks_in(data) if data.is_dir() else []
    if not tasks:
        raise UserError(
            f"{data} is not a written AVS-Collage: name one with --data, to measure what 16 bits change"
        )
    seen, pixels, flipped, changes, logit = 0, 0, 0, [], 0.0
    for task in tasks:
        source = AVSBenchDataset(
            data, task, split, image_size=knobs.image_size, num_frames=knobs.num_frames,  # type: ignore[arg-type]
            hop_seconds=knobs.hop_seconds, audio="wav",
        )  # fmt: skip
        source.clips = source.clips[:clips]
        prepare, differences = ClipPreprocessor.of(full), []
        for index in range(len(source.clips)):
            batch = AVBatch.collate([prepare(source[index])])
            one, other = (
                model(batch.frames, model.encode_audio(batch.audio), latents="mean").logits.flatten(
                    0, 1
                )
                for model in (full, halved)
            )
            masks = batch.masks.flatten(0, 1)
            differences.append(avsbench_iou(other, masks) - avsbench_iou(one, masks))
            logit = max(logit, float((one - other).abs().max()))
            flipped += int(((one > 0) != (other > 0)).sum())
            pixels += one.numel()
        changes.append(float(torch.cat(differences).mean()))
        seen += len(source.clips)
    return Rounding(clips=seen, miou=max(map(abs, changes)), logit=logit, flipped=flipped / pixels)


def _reports(folder: Path, sha256: str) -> list[dict[str, Any]]:
    """Every report below the folder; those that name their weights must name these."""
    found = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("report.json"))
    ]
    if not found:
        raise UserError(
            f"{folder} holds no report.json: score the run with ecmvae evaluate --out {folder}/SOMETHING"
        )
    for report in found:
        if report["about"].get("sha256", sha256) != sha256:
            about = report["about"]
            raise UserError(
                f"{folder}: {about['task']} {about['split']} was scored with other weights: score it again"
            )
    return sorted(
        found, key=lambda report: (report["about"]["split"], report["about"]["task"] != "s4")
    )


def _portable(config: Config) -> Config:
    """The configuration without this machine's paths; the weights that they name are in the model's own file."""
    audio = replace(config.model.audio, weights=None)
    return replace(
        config,
        model=replace(config.model, audio=audio),
        data=replace(config.data, root=None),
        train=replace(config.train, out="runs", initial_checkpoint=None, frozen_parts=[]),
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 2 means a mistake that the user can correct."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the finished run")
    parser.add_argument("--name", required=True, help="of the model")
    parser.add_argument("--command", required=True, help="which trained it, for the card")
    parser.add_argument("--commit", required=True, help="of the code that trained it")
    parser.add_argument("--data", type=Path, help="a written AVS-Collage; without it RUN/data")
    parser.add_argument("--split", default="test_seen", help="of that")
    parser.add_argument(
        "--clips", type=int, default=40, help="clips a data set to compare 16 with 32 bits on"
    )
    options = vars(parser.parse_args(arguments))
    try:
        folder = package(options.pop("run"), options.pop("name"), **options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {folder} and its line in {folder.parent / INDEX_FILE}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
