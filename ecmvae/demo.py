"""The work of `ecmvae demo`: data, training, scores and an overlay video in minutes on two CPU cores, step by step."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from ecmvae.audio.io import read_wave
from ecmvae.config import Config, load_config
from ecmvae.console import output_console
from ecmvae.data.avsbench import read_composition
from ecmvae.data.collage.clips import CollageClips
from ecmvae.data.collage.montage import save_montage
from ecmvae.data.collage.sources import CollageSources
from ecmvae.data.collage.writer import CollageSettings, write_collage, write_moving_clip
from ecmvae.data.images import read_rgb
from ecmvae.data.layout import find_table, read_clips
from ecmvae.data.loading import load_clips
from ecmvae.data.miniature import ShapeScenes, write_miniature
from ecmvae.data.video import write_video
from ecmvae.errors import UserError
from ecmvae.evaluation.evaluator import EvaluateSettings, evaluate
from ecmvae.evaluation.report import Report
from ecmvae.evaluation.report_files import json_text, write_texts
from ecmvae.files import refuse_unwritable, show_path
from ecmvae.locks import locked
from ecmvae.metrics import VALIDATION
from ecmvae.metrics.metric_set import numbers
from ecmvae.models.checkpoint import load_model
from ecmvae.prediction.command import predict
from ecmvae.training.audio import train_audio
from ecmvae.training.run import train as run_training
from ecmvae.training.sounds import CollageSounds, SyntheticSounds

TASKS: tuple[Literal["s4"], Literal["ms3"]] = ("s4", "ms3")
MARK = "demo.lock"
"""The file by which a demo knows its own folders; locked while it runs."""
_SPLIT = "test_seen"
_VIDEO_SIZE = 384  # pixels of the video that the overlay is drawn on
_USUAL_STEPS = 460  # of 8 minutes on two quiet cores


class Demo:
    """One demo; its steps are its methods, in their order; see `ecmvae.demo_command.demo` for the arguments."""

    def __init__(
        self,
        out: Path,
        data: Literal["auto", "collage", "synthetic"],
        cache: str | None,
        config: str | None,
        minutes: float,
        audio_minutes: float,
        clips: int,
        seed: int,
    ) -> None:
        if clips < 2:
            raise UserError(
                f"clips={clips} must be at least 2: one is heard with the other's sound"
            )
        for name, value in (("minutes", minutes), ("audio_minutes", audio_minutes)):
            if not value > 0:
                raise UserError(f"{name}={value} must be above 0")
        _refuse_foreign(out)
        self.out, self.data, self.cache = out, data, cache
        self.minutes, self.audio_minutes, self.clips, self.seed = (
            minutes,
            audio_minutes,
            clips,
            seed,
        )
        self.settings = load_config(config or "collage_demo")
        self.steps: dict[str, float] = {}

    def run(self) -> Path:
        """Do everything; returns the report's path."""
        started = time.monotonic()
        with self._step("fetch"):
            sources = self._sources()
        _move_aside(self.out)
        with locked(self.out, MARK):
            return self._run(sources, started)

    def _run(self, sources: CollageSources | None, started: float) -> Path:
        """Everything but fetching, in a new folder."""
        with self._step("compose"):
            self._compose(sources)
        with self._step("train_audio"):
            self._train_audio(sources)
        with self._step("train"):
            run, resolved = self._train(sources)
        with self._step("evaluate"):
            reports = {task: self._evaluate(task) for task in TASKS}
        with self._step("overlay"):
            shown = self._overlay(reports["s4"], sources)
        floors = {
            task: {name: _headline(scores) for name, scores in report.floors.items()}
            for task, report in reports.items()
        }
        return self._report(
            {
                "data": "synthetic" if sources is None else "collage",
                **_scores(reports["s4"]),
                "ms3": _scores(reports["ms3"]),
                "floors": floors,
                "latent_use": {task: report.latent_use for task, report in reports.items()},
                "seconds": round(time.monotonic() - started, 1),
                "seconds_by_step": self.steps,
                "clips": self.clips,
                "overlay": shown,
                "audio": json.loads(
                    (self.out / "audio" / "report.json").read_text(encoding="utf-8")
                ),
                "steps": json.loads((run / "best" / "metadata.json").read_text(encoding="utf-8")),
                "config": resolved.to_dict(),
            }
        )

    def _sources(self) -> CollageSources | None:
        """The material of AVS-Collage; None for synthetic data."""
        if self.data == "synthetic":
            return None
        try:
            return CollageSources.fetch(self.cache).fold(
                self.settings.data.fold, self.settings.data.folds
            )
        except UserError as error:
            if self.data == "collage":
                raise
            print(
                f"AVS-Collage is not available ({error}): going on with synthetic shapes and voices."
            )
            return None

    def _compose(self, sources: CollageSources | None) -> None:
        """The two test sets on disk, and ``montage.png``."""
        size, root = self.settings.data.image_size, self.out / "data"
        if sources is not None:
            settings = CollageSettings(
                size=size, splits=(_SPLIT,), clips_per_set=self.clips, seed=self.seed
            )
            write_collage(root, sources, settings)
        else:
            for task in TASKS:
                scenes = ShapeScenes(task, size=size, seed=self.seed + 99)
                write_miniature(root, task, {_SPLIT: self.clips}, source=scenes, composed=True)
        self._montage(root)

    def _montage(self, root: Path) -> None:
        chosen, records = [], []
        for task in TASKS:
            composed = read_composition(find_table(root, task).parent / "clips.json")
            some = read_clips(root, task, _SPLIT)[:5]
            chosen += some
            records += [composed[clip.name] for clip in some]
        save_montage(self.out / "montage.png", chosen, records)

    def _train_audio(self, sources: CollageSources | None) -> None:
        train_audio(
            SyntheticSounds()
            if sources is None
            else CollageSounds(sources, self.settings.data.sound_augmentation),
            self.out / "audio",
            name=self.settings.model.audio.name,
            max_minutes=self.audio_minutes,
            seed=self.seed,
            device=self.settings.train.device,
        )

    def _train(self, sources: CollageSources | None) -> tuple[Path, Config]:
        """The run, whose best model becomes ``best/``, and its configuration."""
        settings, train = self.settings, self.settings.train
        config = replace(
            settings,
            model=replace(
                settings.model, audio=replace(settings.model.audio, weights=str(self.out / "audio"))
            ),
            data=replace(
                settings.data, name="synthetic" if sources is None else "collage", root=self.cache
            ),
            train=replace(
                train,
                out=str(self.out),
                max_minutes=self.minutes,
                seed=train.seed + self.seed,
            ),
        )
        run = run_training(config)
        shutil.copytree(run / "best", self.out / "best")
        shutil.copyfile(run / "curves.png", self.out / "curves.png")
        return run, config

    def _evaluate(self, task: Literal["s4", "ms3"]) -> Report:
        clips = load_clips(
            replace(self.settings.data, name=task, root=str(self.out / "data")), _SPLIT
        )
        settings = EvaluateSettings(seed=self.seed, workers=1)
        report = evaluate(
            load_model(self.out), clips, settings, about={"task": task, "split": _SPLIT}
        )
        report.write(self.out / "scores" / task)
        return report

    def _overlay(self, report: Report, sources: CollageSources | None) -> dict[str, Any]:
        """Draw the best-scored S4-like test clip, larger than it was scored, into ``overlay.mp4``; returns which."""
        best = max(report.clips["real"], key=lambda clip: clip.miou)
        video = self.out / f"{best.name}.mp4"
        if sources is None:
            (clip,) = (
                clip
                for clip in read_clips(self.out / "data", "s4", _SPLIT)
                if clip.name == best.name
            )
            _still_video(video, clip.frame, clip.wav)
        else:
            self._moving_video(video, best.name, sources)
        predict([str(video)], out=self.out / "overlay.mp4", checkpoint=str(self.out))
        return {
            "clip": best.name,
            "chosen": "highest mIoU of the S4-like test clips",
            "miou": best.miou,
        }

    def _moving_video(self, path: Path, name: str, sources: CollageSources) -> None:
        """The clip of that name, composed again at a size worth looking at."""
        clips = CollageClips(
            sources, "s4", _SPLIT, self.clips, size=_VIDEO_SIZE, seed=self.seed, remix=False
        )
        (index,) = (index for index in range(len(clips)) if clips.name(index) == name)
        write_moving_clip(path, clips, index)

    def _report(self, content: dict[str, Any]) -> Path:
        """Write ``report.json``, last of all, and show the table."""
        write_texts(self.out, {"report.json": json_text(content)})
        rows = ("miou", "miou_nonempty", "fscore", "right_of_two", "miou_silent", "miou_shuffled")
        table = Table(
            title=f"{content['data']}, {self.clips} {_SPLIT} clips a set (fractions), {content['seconds']:.0f} s"
        )
        for heading in ("", "S4-like", "MS3-like", "S4-like: all objects", "MS3-like: all objects"):
            table.add_column(heading, justify="right" if heading else "left")
        floors = [content["floors"][task].get("all_objects", {}) for task in TASKS]
        for row in rows:
            values = [
                content.get(row),
                content["ms3"].get(row),
                *(floor.get(row) for floor in floors),
            ]
            table.add_row(
                row.replace("_", " "),
                *("" if value is None else f"{value:.3f}" for value in values),
            )
        console = output_console()
        console.print(table)
        if hint := _more_minutes(content["steps"]["step"], self.minutes):
            console.print(hint, soft_wrap=True)
        for name, line in (
            ("overlay.mp4", "a test clip with what is heard cut out"),
            ("montage.png", "what the data looks like"),
            ("curves.png", "how training went"),
            ("report.json", "all numbers and settings"),
        ):
            console.print(f"  {self.out / name}  {line}", soft_wrap=True)
        console.print(
            f"Your own video: ecmvae predict VIDEO.mp4 --checkpoint {self.out} --out OUT.mp4",
            soft_wrap=True,
        )
        return self.out / "report.json"

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.steps[name] = round(time.monotonic() - started, 1)


def _more_minutes(steps: int, minutes: float) -> str | None:
    """What to try when training was short, or the machine slow: less than half the usual steps."""
    if steps >= _USUAL_STEPS / 2:
        return None
    enough = math.ceil(minutes * _USUAL_STEPS / max(steps, 1))
    return (
        f"Training made {steps} steps in its {minutes:g} minutes; {_USUAL_STEPS}, as on two quiet cores in 8 minutes, "
        f"score higher: ecmvae demo --minutes {enough}"
    )


def _refuse_foreign(out: Path) -> None:
    """Raise `UserError` unless `out` is missing, an empty folder or an older demo."""
    if not out.exists():
        refuse_unwritable(out)
    elif not out.is_dir():
        raise UserError(f"--out {show_path(out)} is a file: name a folder")
    elif any(out.iterdir()):
        if not (out / MARK).is_file():
            raise UserError(
                f"--out {show_path(out)} is not empty and not a demo (it has no {MARK}): name another folder"
            )
        if Path.cwd().is_relative_to(out.resolve()):
            raise UserError(
                f"--out {show_path(out)} is a demo that you are in: name another folder"
            )


def _move_aside(out: Path) -> None:
    """Rename an older demo, in which no process is at work, to the next free number."""
    _refuse_foreign(out)
    folder = out.resolve()  # of a link, what it points to
    if (folder / MARK).is_file():
        with locked(folder, MARK):
            candidates = (
                folder.with_name(f"{folder.name}-{number:03d}") for number in itertools.count(1)
            )
            older = folder.rename(next(each for each in candidates if not each.exists()))
        print(f"the older {show_path(out)} is now {show_path(out.with_name(older.name))}")


def _scores(report: Report) -> dict[str, float | None]:
    others = {
        f"miou_{sound}": report.scores[sound].per_clip.miou for sound in ("silent", "shuffled")
    }
    return _headline(report.scores["real"]) | others


def _headline(scores: Mapping[str, Any]) -> dict[str, float | None]:
    """The scores that training validates by, under the names it gives them."""
    return {
        name: value
        for metric in VALIDATION["masks"]
        for name, value in numbers(scores[metric], metric)
    }


def _still_video(path: Path, frame: Any, wav: Path, seconds: int = 5, fps: int = 24) -> Path:
    """A video for clips that have none: each annotated frame stands still for its second."""
    pictures = [read_rgb(frame(second)) for second in range(1, seconds + 1)]
    waveform, rate = read_wave(wav)
    write_video(
        path, (pictures[k // fps] for k in range(seconds * fps)), fps, waveform.numpy(), rate
    )
    return path
