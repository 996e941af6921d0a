"""Videos in, overlays and masks out: the work of `ecmvae predict`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ecmvae.data.video import show_path
from ecmvae.errors import UserError
from ecmvae.files import refuse_unwritable
from ecmvae.hub.client import sha256_of
from ecmvae.hub.concepts import ConceptsName
from ecmvae.hub.find import default_model, find_model_folder
from ecmvae.hub.named_models import WEIGHTS_FILE
from ecmvae.manifest import Manifest, source_name
from ecmvae.prediction.file_work import FileTask, FileWork, Outcome, is_there
from ecmvae.prediction.options import CorpusOptions, PredictorOptions, WriterOptions
from ecmvae.prediction.predictor import VideoPredictor
from ecmvae.prediction.sources import Source, resolve_sources
from ecmvae.prediction.writers import WRITERS, writer_for

logger = logging.getLogger(__name__)

Plan = tuple[Source, dict[str, Path]]


def predict_videos(
    sources: Sequence[str],
    formats: Sequence[str],
    load: Callable[[], VideoPredictor],
    look: WriterOptions,
    *,
    out: Path,
    force: bool,
    progress: bool,
    corpus: CorpusOptions | None = None,
    same: Callable[[], Mapping[str, Any]] = dict,
    calibrated: Callable[[Callable[[], VideoPredictor], Sequence[Path]], VideoPredictor]
    | None = None,
) -> int:
    """Predict every source and write it in the given output formats; see `ecmvae.prediction.command.predict`.

    The model is loaded by `load` once it is clear that there is something to do. `same` gives what all rows of a
    manifest must agree in, see `settings_and_weights`; `calibrated` calls `load` for what will be predicted, see
    `ecmvae.prediction.calibration.load_calibrated`.

    Returns:
        0, or 2 when a video of several failed.

    Raises:
        UserError: When nothing can be done, or the only source fails.
    """
    corpus = corpus or CorpusOptions()
    endings = {name: WRITERS.get(name).ending for name in (*WRITERS, *formats)}
    chosen = list(dict.fromkeys(formats))
    for name in chosen:
        WRITERS.get(name).check_installed()
    videos = resolve_sources(sources, leave_out=endings.values())
    single = len(videos) == 1 and corpus == CorpusOptions()
    if corpus.shard:
        total, videos = (
            len(videos),
            corpus.shard.of(sorted(videos, key=lambda video: source_name(video.path))),
        )
        print(f"shard {corpus.shard}: {len(videos)} of {total} files")
        if not videos:
            return 0
    plans = [(video, _targets(video, out, chosen, endings, single=single)) for video in videos]
    if not any(targets for _, targets in plans):
        raise UserError(
            f"no output is wanted: leave --overlay on, or ask for {', '.join([*WRITERS][1:])}"
        )
    _refuse_overwriting(plans, force=force, single=single)
    refuse_unwritable(next(iter(plans[0][1].values())) if len(plans) == 1 else out / "any name")
    with ExitStack() as stack:
        manifest, agreed = None, same() if corpus.manifest else {}
        if corpus.manifest:
            manifest = stack.enter_context(
                Manifest(corpus.manifest, agreed, shard=corpus.shard, force=force)
            )
        tasks, failed = _open_tasks(plans, manifest, force=force, retry_failed=corpus.retry_failed)
        if calibrated is not None:
            load = partial(calibrated, load, [task.path for task in tasks])
        outcomes = _outcomes(tasks, load, look, manifest, agreed, corpus, progress=progress)
        for number, outcome in outcomes:
            position = f"[{number + 1}/{len(tasks)}] " if len(tasks) > 1 else ""
            if outcome.status != "failed":
                print(position + outcome.line)
                continue
            failed += 1
            if not single:
                logger.error("%s%s", position, outcome.line)
    if failed and single:
        # after the model has gone: a traceback keeps what the loop holds
        raise UserError(outcome.line)
    if failed:
        logger.error("%d of %d videos failed", failed, len(plans))
    return 2 if failed else 0


def settings_and_weights(
    checkpoint: str | None, options: PredictorOptions, look: WriterOptions
) -> dict[str, Any]:
    """What all rows of a manifest must agree in: settings that show in the outputs, and the weights' SHA-256.

    Engine, device, batch and cache are not among them: the masks are the same.

    Raises:
        UserError: If there is no such model.
    """
    settings = {**asdict(options), **asdict(look)}
    for name in ("batch", "cache"):
        del settings[name]
    if checkpoint is not None and (concepts := ConceptsName.parse(checkpoint)):
        return {"settings": settings, "weights": concepts.sha256()}
    file = Path(checkpoint or "")
    if file.suffix != ".onnx":
        file = (
            default_model() if checkpoint is None else find_model_folder(checkpoint)
        ) / WEIGHTS_FILE
    if not file.is_file():
        raise UserError(f"checkpoint not found: {show_path(file)}")
    return {"settings": settings, "weights": sha256_of(file)}


def _open_tasks(
    plans: Sequence[Plan], manifest: Manifest | None, *, force: bool, retry_failed: bool
) -> tuple[list[FileTask], int]:
    """What the manifest leaves to do, and how many files failed before and are not tried again."""
    if manifest is None:
        return [FileTask(video.path, targets, replace=force) for video, targets in plans], 0
    tasks, before = [], Counter[str]()
    for video, targets in plans:
        name, row = source_name(video.path), manifest.known(video.path)
        if not force and row and row["status"] == "failed" and not retry_failed:
            before["failed"] += 1
        elif (
            not force and row and row["status"] != "failed" and all(map(is_there, targets.values()))
        ):
            before["done"] += 1
        else:
            # Outputs of a file that has changed since, or whose row was torn, are made again.
            changed = row is None and (name in manifest.rows or name in manifest.torn)
            tasks.append(FileTask(video.path, targets, replace=force or changed))
    if before["done"]:
        print(f"{before['done']} of {len(plans)} files were done before")
    if before["failed"]:
        print(
            f"{before['failed']} of {len(plans)} files failed before: --retry_failed tries them again"
        )
    return tasks, before["failed"]


def _outcomes(
    tasks: Sequence[FileTask],
    load: Callable[[], VideoPredictor],
    look: WriterOptions,
    manifest: Manifest | None,
    same: Mapping[str, Any],
    corpus: CorpusOptions,
    *,
    progress: bool,
) -> Iterator[tuple[int, Outcome]]:
    """The number of each task and what became of it, in the order in which they are finished."""
    if corpus.executor == "ray":
        from ecmvae.prediction.ray_executor import work_on_ray

        work = partial(FileWork, load, look)
        return work_on_ray(
            tasks, work, manifest, same, corpus.workers, corpus.gpus_per_worker or 0.0
        )
    here = FileWork(load, look, manifest=manifest, progress=progress)
    return ((number, here(task)) for number, task in enumerate(tasks))


def _targets(
    video: Source, out: Path, chosen: list[str], endings: dict[str, str], *, single: bool
) -> dict[str, Path]:
    """Where each output of a video goes."""
    if single and out.suffix and not out.is_dir():
        named = writer_for(out, chosen)
        beside = {
            name: out.with_name(out.stem + endings[name])
            for name in chosen
            if name not in (named, "overlay")
        }
        return {named: out, **beside}
    kinds = {suffix for name in (*chosen, *WRITERS) for suffix in WRITERS.get(name).suffixes}
    if out.suffix and out.suffix.lower() in kinds and not out.exists():
        raise UserError(
            f"{show_path(out)} is the name of one file, but the outputs of this run go into a folder: name that"
        )
    if out.exists() and not out.is_dir():
        raise UserError(f"{show_path(out)} is a file: several outputs need a folder")
    return {name: out / video.label.with_name(video.label.name + endings[name]) for name in chosen}


def _refuse_overwriting(plans: Sequence[Plan], *, force: bool, single: bool) -> None:
    """Protect a single source's outputs and all sources; several sources skip what is done.

    Raises:
        UserError: When something would be lost.
    """
    for video, targets in plans:
        for target in targets.values():
            if is_there(target) and is_there(video.path) and target.samefile(video.path):
                raise UserError(f"{show_path(target)} is the source itself: choose another --out")
    existing = (
        [target for _, targets in plans for target in targets.values() if is_there(target)]
        if single
        else []
    )
    if existing and not force:
        raise UserError(
            f"{show_path(existing[0])} exists: choose another --out, or replace it with --force"
        )
