"""Work on files by actors of Ray (its only door): each holds the model and does one file at a time.

Ray's own contract for actors is used as documented: `max_restarts` starts an actor again whose process died, and
`max_task_retries` gives it the same file again, at least once. Once and no more comes from the work itself: outputs
appear whole, and each actor notes a finished file in a journal before it answers, which a repeated task finds. A file
on which a worker dies three times is a failed file, not the end of the run; that is why this is a loop over actors
and not `ray.data.Dataset.map_batches`, which would try it for ever or give up altogether.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from ecmvae.errors import UserError
from ecmvae.files import show_path
from ecmvae.manifest import Manifest, journal_path, source_name
from ecmvae.prediction.file_work import NO_FIGURES, FileTask, FileWork, Outcome

logger = logging.getLogger(__name__)

RETRIES = 2
"""How often a file is tried again whose worker died."""
_PATIENCE = 60.0  # seconds until the lock of a worker's dead predecessor is free


def work_on_ray(
    tasks: Sequence[FileTask],
    work: Callable[..., FileWork],
    manifest: Manifest | None,
    same: Mapping[str, Any],
    workers: int | None,
    gpus: float,
) -> Iterator[tuple[int, Outcome]]:
    """The number of each task and what became of it, in the order in which they are finished.

    On the cluster at RAY_ADDRESS, else on one that is started on this machine and ended at the end. All machines
    must see the files by the same names.

    Args:
        tasks: The files.
        work: Makes a worker's `FileWork` when it is given its `manifest`.
        manifest: Gets a row for each file.
        same: What all its rows must agree in.
        workers: Actors; None = as many as there is room for.
        gpus: GPUs that each reserves.

    Raises:
        UserError: If there is no such cluster, it has no room for a worker, the model cannot be loaded, or all
            workers are lost.
    """
    if not tasks:
        return
    _connect()
    try:
        count = _room(workers, gpus, len(tasks))
        journals = [
            journal_path(manifest.path.absolute(), k + 1) if manifest else None
            for k in range(count)
        ]
        remote: Any = ray.remote(
            num_cpus=1, num_gpus=gpus, max_restarts=-1, max_task_retries=RETRIES
        )(_Worker)
        actors = [remote.remote(work, journal, dict(same)) for journal in journals]
        _answers([actor.load.remote() for actor in actors])
        for number, outcome in _finished(actors, tasks):
            if manifest is not None and outcome.row is not None:
                manifest.append_row(outcome.row)
            elif manifest is not None:  # no worker lived to make a row
                manifest.append(
                    tasks[number].path, outcome.status, outcome.line, outputs=[], **NO_FIGURES
                )
            yield number, outcome
        for journal in journals:
            if journal is not None:
                journal.unlink(missing_ok=True)
    finally:
        ray.shutdown()


class _Worker:
    """An actor: the model, and a journal of the files that it finished."""

    def __init__(
        self, work: Callable[..., FileWork], journal: Path | None, same: Mapping[str, Any]
    ) -> None:
        self._make, self._path, self._same = work, journal, same

    @cached_property
    def _journal(self) -> Manifest | None:
        if self._path is None:
            return None
        return Manifest(self._path, self._same, alone=True, patience=_PATIENCE)

    @cached_property
    def _work(self) -> FileWork:
        return self._make(manifest=self._journal)

    def load(self) -> None:
        """Load the model; not in `__init__`, whose errors Ray reports less clearly."""
        _ = self._work.predictor

    def predict(self, task: FileTask) -> Outcome:
        """Work on a file, unless this worker finished it before it was killed."""
        row = self._journal.rows.get(source_name(task.path)) if self._journal else None
        if row is None:
            return self._work(task)
        line = row["error"] or f"{show_path(task.path)}: was finished when its worker died"
        return Outcome(row["status"], line, {**row, **self._same})


def _finished(actors: Sequence[Any], tasks: Sequence[FileTask]) -> Iterator[tuple[int, Outcome]]:
    """Each actor gets a file, and the next one when it has answered."""
    waiting, running = iter(enumerate(tasks)), {}

    def give(actor: Any) -> None:
        for number, task in waiting:
            running[actor.predict.remote(_absolute(task))] = actor, number
            return

    for actor in actors:
        give(actor)
    while running:
        (ready,), _ = ray.wait(list(running), num_returns=1)
        actor, number = running.pop(ready)
        try:
            (outcome,) = _answers([ready])
        except RayError:
            # else a lost cluster would fail every file
            _answers([actor.load.remote()], "Ray lost its workers")
            name = show_path(tasks[number].path)
            outcome = Outcome(
                "failed",
                f"{name}: the worker died {RETRIES + 1} times on it: is there enough memory?",
            )
        give(actor)
        yield number, outcome


def _answers(references: Sequence[Any], lost: str = "") -> list[Any]:
    """What the actors answered; an exception in an actor is raised here as it was raised there."""
    try:
        return list(ray.get(list(references)))
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        if not lost:
            raise
        raise UserError(
            f"{lost} ({str(error).partition(chr(10))[0]}): start the same command again"
        ) from error


def _connect() -> None:
    address = os.environ.get("RAY_ADDRESS")
    try:
        ray.init(logging_level=logging.WARNING, include_dashboard=None if address else False)
    except Exception as error:  # Ray raises classes of no common base here
        where = f"the cluster at RAY_ADDRESS={address}" if address else "a cluster on this machine"
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"Ray cannot use {where} ({reason}): start it, and set RAY_AUTH_MODE=token if it asks for a token"
        ) from error


def _room(workers: int | None, gpus: float, tasks: int) -> int:
    """How many actors to start."""
    there = ray.cluster_resources()  # type: ignore[no-untyped-call]
    room = int(there.get("CPU", 0))
    if gpus:
        room = min(room, int(there.get("GPU", 0) / gpus + 1e-6))
    if not room:
        raise UserError(
            f"the Ray cluster has {there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs: no room for a worker "
            f"with 1 CPU and {gpus:g} GPUs"
        )
    if workers is not None and workers > room:
        logger.warning(
            "the Ray cluster has room for %d of %d workers (1 CPU and %g GPUs each)",
            room,
            workers,
            gpus,
        )
    return min(room, workers or room, tasks)


def _absolute(task: FileTask) -> FileTask:
    """A worker may run in another folder."""
    targets = {kind: path.absolute() for kind, path in task.targets.items()}
    return replace(task, path=task.path.absolute(), targets=targets)
