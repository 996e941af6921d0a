"""`ecmvae evaluate`: its signature for the command line; the work is imported when it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ecmvae.errors import UserError
from ecmvae.files import refuse_unwritable


def evaluate(
    checkpoint: str | None = None,
    data: str | None = None,
    split: str = "test",
    task: str = "auto",
    predictions: str | None = None,
    folds: str | None = None,
    photographs: int = 48,
    save_predictions: str | None = None,
    visual_only: str | None = None,
    metrics: list[str] | None = None,
    latents: Literal["mean", "sample"] = "mean",
    samples: int = 1,
    batch_clips: int = 4,
    batch_size: int = 4,
    robustness: bool = False,
    snr: float = 0.0,
    limit: int | None = None,
    classes: str | None = None,
    seed: int = 0,
    workers: int = 0,
    trust_code: bool = False,
    device: str = "auto",
    out: str = "runs/evaluate",
) -> None:
    """Score a model, or a folder of predicted masks, by the three published protocols.

    Prints a table and writes report.json, report.md and clips.csv; for AVSS also classes.csv.

    Examples:
        ecmvae evaluate --checkpoint runs/s4_pvt-001 --data AVSBench --split test
        ecmvae evaluate --predictions their_masks --data AVSBench --task s4
        ecmvae evaluate --checkpoint runs/avss_pvt-001 --data AVSS
        ecmvae evaluate --folds runs/cross_validation

    Args:
        checkpoint: A model folder, the run folder that holds it, a name (see ecmvae models) or hf://owner/name.
        data: Folder that holds Single-source or Multi-sources, or AVSS' metadata.csv; other data sets may need none.
        split: Value of the csv's split column.
        task: s4, ms3, avss, or auto: every task that the folder holds; or any data set, see data.name of ecmvae train.
        predictions: Score the PNG masks (avss: coloured classes) in this folder instead of a model.
        folds: Score the models of AVS-Collage's folds (data.fold) whose runs are in this folder, or a single one, on
            known and held-out pictures and recordings, with intervals by picture. --limit is then the number of clips
            of each kind (200), --task is s4, ms3 or both, and --data the cache of the sources.
        photographs: With --folds: number of pairs of whole photographs, one above the other, with the sound of one.
        save_predictions: Write the model's masks or classes to this folder, as PNG files named as in the release.
        visual_only: A second checkpoint, evaluated with silence only, as a floor.
        metrics: Names or import paths of the metrics to compute; by default all of the task's.
        latents: Use the latents' means, or samples.
        samples: Number of latent samples to average over.
        batch_clips: Clips in a batch of AVSBench's own protocol; its F-measure depends on it.
        batch_size: Clips in one pass through the model.
        robustness: Also score the model with silence, noise, other classes, other times and off-screen sounds.
        snr: Level of the clip's own sound above noise and off-screen sounds, in decibels.
        limit: Score only this many clips, the first ones.
        classes: With --checkpoint concepts on AVSS: a table of the prompt and the sounds of each class (.csv, with the
            columns class, prompt and sounds); without it the packaged one.
        seed: Seed of latents, of the shuffled sound and of the random floor.
        workers: Processes that read clips.
        trust_code: Import the classes that the checkpoint's configuration names by import path: runs their code.
        device: auto, cpu, cuda or mps.
        out: Folder for the reports; a number is added if it exists.

    Raises:
        UserError: When checkpoint or data are missing or do not fit together.
    """
    if sum(each is not None for each in (checkpoint, predictions, folds)) != 1:
        raise UserError(
            "say what to score: one of --checkpoint FOLDER, --predictions FOLDER and --folds FOLDER"
        )
    refuse_unwritable(Path(out))
    if folds is not None:
        idle = {
            "save_predictions": save_predictions is not None,
            "visual_only": visual_only is not None,
            "metrics": metrics is not None,
            "robustness": robustness,
            "samples": samples != 1,
            "latents": latents != "mean",
            "split": split != "test",
            "classes": classes is not None,
        }
        if given := [name for name, changed in idle.items() if changed]:
            raise UserError(f"--{given[0]} has no effect on --folds: leave it out")
        from ecmvae.evaluation.folds_run import run_folds

        run_folds(
            folds,
            cache=data,
            kind=task,
            clips=200 if limit is None else limit,
            photographs=photographs,
            batch_size=batch_size,
            seed=seed,
            workers=workers,
            trust_code=trust_code,
            device=device,
            out=out,
        )
        return
    if classes is not None and not (checkpoint or "").startswith("concepts"):
        raise UserError("--classes goes with --checkpoint concepts: leave it out")
    if photographs != 48:
        raise UserError("--photographs has no effect without --folds: leave it out")
    if data is None and task in ("auto", "s4", "ms3", "avss"):
        raise UserError(
            "say on which data: --data FOLDER, the one that holds Single-source or Multi-sources, or metadata.csv"
        )
    if data is not None and not Path(data).is_dir():
        raise UserError(
            f"{data}: there is no such folder of data; see docs/data.md for the expected folders, or write an example "
            "with ecmvae data miniature"
        )
    from ecmvae.evaluation.evaluate_run import EvaluationRun
    from ecmvae.evaluation.evaluator import EvaluateSettings
    from ecmvae.evaluation.robustness import RobustnessSettings

    settings = EvaluateSettings(
        batch_clips=batch_clips,
        batch_size=batch_size,
        latents=latents,
        samples=samples,
        seed=seed,
        workers=workers,
    )
    EvaluationRun(
        checkpoint=checkpoint,
        data=data,
        split=split,
        task=task,
        predictions=predictions,
        save_predictions=save_predictions,
        visual_only=visual_only,
        metrics=metrics,
        robustness=RobustnessSettings(snr_db=snr, seed=seed) if robustness else None,
        limit=limit,
        classes=classes,
        trust_code=trust_code,
        device=device,
        out=out,
        settings=settings,
    ).run()
