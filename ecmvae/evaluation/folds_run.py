"""`ecmvae evaluate --folds`: from a folder of runs to the report of all folds."""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

from ecmvae.console import output_console
from ecmvae.data.collage.scene import Kind
from ecmvae.data.collage.sources import CollageSources
from ecmvae.device import choose_device
from ecmvae.errors import UserError
from ecmvae.evaluation.folds import (
    FoldSettings,
    FoldsReport,
    check_models,
    evaluate_folds,
    models_in,
)
from ecmvae.evaluation.report_files import new_report_folder
from ecmvae.hub.find import weights_sha256
from ecmvae.models.checkpoint import load_model
from ecmvae.provenance import __version__, source_commit


def run_folds(
    folder: str,
    *,
    cache: str | None = None,
    kind: str = "auto",
    clips: int = 200,
    photographs: int = 48,
    batch_size: int = 4,
    seed: int = 0,
    workers: int = 0,
    trust_code: bool = False,
    device: str = "auto",
    out: str = "runs/evaluate",
) -> FoldsReport:
    """Score the models of a folder, print their scores and write ``folds/report.json`` below `out`.

    Args:
        folder: Runs of several folds, or a single model.
        cache: Where the sources of AVS-Collage are kept; None = where training found them.
        kind: s4, ms3, both, or auto: s4, in which one object sounds.
        clips: Clips of each row and model.
        photographs: Pairs of photographs that each model is shown.
        batch_size: Clips that a model sees at once.
        seed: Seed of clips and latents.
        workers: Processes that compose clips.
        trust_code: Import the classes that a checkpoint names by import path.
        device: auto, cpu, cuda or mps.
        out: Folder for the report; numbered when it exists.

    Raises:
        UserError: If no model is found, or the models are not folds of one cross-validation.
    """
    kinds = (*get_args(Kind), "both")
    if kind not in ("auto", *kinds):
        raise UserError(
            f"--task {kind} is not a kind of AVS-Collage: choose from {', '.join(kinds)}"
        )
    settings = FoldSettings(
        clips=clips,
        photographs=photographs,
        kind=cast("Kind", "s4" if kind == "auto" else kind),
        batch_size=batch_size,
        seed=seed,
        workers=workers,
    )
    found = models_in(folder)
    place = choose_device(device)
    models = {
        name: load_model(path, device=place, trust_code=trust_code) for name, path in found.items()
    }
    check_models(models)
    config = next(iter(models.values())).config
    assert config is not None  # checked above
    about = {
        "models": {
            name: {"checkpoint": str(path), "sha256": weights_sha256(path)}
            for name, path in found.items()
        },
        "ecmvae": __version__,
        "commit": source_commit(),
        "device": str(place),
    }
    sources = CollageSources.fetch(config.data.root if cache is None else cache)
    report = evaluate_folds(models, sources, settings, about=about)
    console, written = output_console(), report.write(new_report_folder(Path(out)) / "folds")
    report.show(console)
    console.print(f"written: {written}/report.json", soft_wrap=True)
    return report
