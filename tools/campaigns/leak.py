"""Clip after clip through one `VideoPredictor`: does the process grow?

Intact clips of many containers and damaged ones alternate in one process, as in a service that runs for months. After
each clip there must be as many open files and threads as after the tenth; resident memory (the median over twenty clips
in a row) is given after 50 and after 500.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

from campaigns.base import Campaign, Trial
from campaigns.containers import MUTATIONS, SEEDS
from campaigns.worker import Answer, Worker

_SETTLED = 10
"""Clips after which the process has opened what it keeps."""
_WINDOW = 20
_MARKS = (50, 500)
_MOST = 1.1
"""Resident memory after the last mark over that after the first, above which it counts as lost."""


@cache
def _predictor() -> Any:
    from ecmvae.prediction.options import PredictorOptions
    from ecmvae.prediction.predictor import VideoPredictor

    return VideoPredictor(options=PredictorOptions(fps=1))


def predict(words: list[str]) -> int:
    """Predict the clip that the word names; 2 when it is refused."""
    from ecmvae.errors import UserError

    try:
        result = _predictor().predict(words[0])
    except UserError as error:
        print(error)
        return 2
    print(len(result))
    return 0


class Leak(Campaign):
    """See the module."""

    runs = 500
    quick = 14

    def __init__(self, work: Path, seed: int, function: str = "campaigns.leak:predict") -> None:
        super().__init__(work, seed)
        self._function = function
        self._stack = ExitStack()
        self._answers: list[Answer] = []

    def __enter__(self) -> Self:
        self._clips = {
            name: media.write(self.work / name) for name, media in SEEDS.items() if media.video
        }
        self._worker = self._stack.enter_context(Worker(self._function, self.work))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def trial(self, index: int) -> Trial:
        """Predict one clip and count what the process holds."""
        rng = self.rng(index)
        name = rng.choice(list(self._clips))
        path, kind = self.work / name, "intact clip"
        if rng.random() < 0.3:
            kind, change = "damaged clip", rng.choice(list(MUTATIONS))
            path = self.work / f"damaged{path.suffix}"
            path.write_bytes(MUTATIONS[change](self._clips[name], rng))
        answer = self._worker([str(path)])
        self._answers.append(answer)
        lost = answer.fault((0, 2) if kind == "damaged clip" else (0,))
        if not lost and len(self._answers) > _SETTLED:
            before = self._answers[_SETTLED - 1]
            for what in ("files", "threads"):
                if getattr(answer, what) > getattr(before, what):
                    lost = f"{getattr(answer, what)} {what}, {getattr(before, what)} after clip {_SETTLED}"
        found = self.figures()
        if not lost and len(self._answers) == _MARKS[1] and found["memory_ratio"] > _MOST:
            lost = f"resident memory grew by {found['memory_ratio']}"
        return Trial(kind, lost, name, answer.megabytes or None, answer.cpu_seconds)

    def figures(self) -> Mapping[str, float | int | str]:
        """Resident memory, open files and threads after so many clips."""
        found: dict[str, Any] = {}
        for mark in _MARKS:
            if len(self._answers) >= mark:
                found[f"megabytes_after_{mark}"] = round(
                    median(each.resident for each in self._answers[mark - _WINDOW : mark]), 1
                )
                found[f"files_after_{mark}"] = self._answers[mark - 1].files
                found[f"threads_after_{mark}"] = self._answers[mark - 1].threads
        if len(self._answers) >= _MARKS[1]:
            found["memory_ratio"] = round(
                found[f"megabytes_after_{_MARKS[1]}"] / found[f"megabytes_after_{_MARKS[0]}"], 3
            )
        return found
