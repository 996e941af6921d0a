"""A camera or a stream in, a live overlay and lines out: what `ecmvae predict 0` and `rtsp://...` do."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from ecmvae.data.letterbox import Letterbox
from ecmvae.data.video import show_path
from ecmvae.data.video.addresses import Address, Camera, LiveSource, live_source
from ecmvae.data.video.live import LiveStream
from ecmvae.data.video.live_writing import ArrivedSound
from ecmvae.errors import UserError
from ecmvae.files import refuse_unwritable, remove_leftovers
from ecmvae.memory import release_free_memory
from ecmvae.prediction.causal import MOST_LAG, CausalPredictor
from ecmvae.prediction.classes import by_area, class_name
from ecmvae.prediction.options import LiveOptions, WriterOptions
from ecmvae.prediction.predictor import VideoPredictor
from ecmvae.prediction.result import FrameResult
from ecmvae.prediction.writers import WRITERS
from ecmvae.prediction.writers.base import FrameWriter
from ecmvae.prediction.writers.live_overlay import LiveOverlayWriter

logger = logging.getLogger(__name__)

FORMATS = ("overlay", "mask_video", "masks", "jsonl", "activity")
"""What can be written while it comes; other formats read their source again, or need all of it."""
_LINE_EVERY = 1.0  # seconds of the stream
_SLACK = 2e-3  # seconds; timestamps are rounded
_MOST_NAMES = 3  # in a line
_LONGEST = 60_000  # milliseconds; a longer delay counts as this


@dataclass(eq=False)
class Delays:
    """How long things took, counted by the millisecond: memory does not grow with their number."""

    counts: Int64[np.ndarray, " ms"] = field(
        default_factory=lambda: np.zeros(_LONGEST + 1, np.int64)
    )

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[min(max(round(1000 * seconds), 0), _LONGEST)] += 1

    def quantile(self, share: float) -> int:
        """Milliseconds within which this share of them was done; 0 of none."""
        total = int(self.counts.sum())
        return int(np.searchsorted(self.counts.cumsum(), max(share * total, 1))) if total else 0

    def __str__(self) -> str:
        return f"median {self.quantile(0.5)} ms, 95 % {self.quantile(0.95)} ms"


@dataclass(eq=False)
class LiveSummary:
    """Figures of a run.

    Attributes:
        frames: Frames that got a mask.
        seconds: Time of the last one.
        sounding: How many have a mask that is not empty.
        area: Sum of the masks' shares of the picture.
        dropped: Frames that came and got no mask, because the machine was too slow.
        delays: From a frame's arrival to its mask, of all frames.
        key_delays: Likewise, of those that went through the model.
    """

    frames: int = 0
    seconds: float = 0.0
    sounding: int = 0
    area: float = 0.0
    dropped: int = 0
    delays: Delays = field(default_factory=Delays)
    key_delays: Delays = field(default_factory=Delays)

    def add(self, result: FrameResult, delay: float, *, key: bool) -> None:
        """Count a frame."""
        masked = float(result.mask.mean())
        self.frames, self.seconds = self.frames + 1, result.time
        self.sounding, self.area = self.sounding + (masked > 0), self.area + masked
        self.delays.add(delay)
        if key:
            self.key_delays.add(delay)

    def line(self, name: str, outputs: str) -> str:
        """All of it, for people."""
        frames = max(self.frames, 1)
        return (
            f"{name}: {self.frames} frames, {self.seconds:.1f} s, masks on {self.sounding / frames:.0%} of the frames "
            f"covering {self.area / frames:.1%} of the picture; from a frame's arrival to its mask {self.delays} "
            f"(key frames {self.key_delays}); {self.dropped} frames dropped{f' -> {outputs}' if outputs else ''}"
        )


def predict_live(
    name: str,
    formats: Sequence[str],
    load: Callable[[], VideoPredictor],
    look: WriterOptions,
    live: LiveOptions,
    *,
    out: str | Path,
    force: bool,
    progress: bool,
) -> int:
    """Segment a camera or stream until it ends, `live.seconds` have passed, or Ctrl-C.

    Args:
        name: A camera's number or an address.
        formats: Names of output formats, of `FORMATS`.
        load: Loads the model, before anything is opened.
        look: Choices that concern several output formats.
        live: Choices that concern cameras and streams.
        out: A folder, a file, or an address to which the overlay is sent.
        force: Replace outputs that are there.
        progress: Print a line every second.

    Returns:
        0.

    Raises:
        UserError: If the source cannot be opened, no picture comes, an output is not one of a stream, or exists.
    """
    source = live_source(name, live.microphone)
    targets = _targets(source, out, formats, force=force)
    predictor = load()
    record = ArrivedSound() if "overlay" in targets else None
    options = predictor.options
    stream = LiveStream(
        source,
        sample_rate=predictor.engine.sample_rate,
        seconds=predictor.engine.seconds + MOST_LAG + 5,
        track=options.audio_track,
        record=record,
        patience=live.patience,
    )
    summary = LiveSummary()
    with _ended_by_signals(stream.stop) as signals, stream:
        info = stream.info
        causal = CausalPredictor(
            predictor.engine,
            options,
            Letterbox(
                height=info.height,
                width=info.width,
                side=predictor.engine.image_size,
                squash=options.squash,
                sample_aspect=info.sample_aspect,
            ),
        )
        with ExitStack() as stack:
            writers: list[FrameWriter] = []
            lines = Lines() if progress else None
            for each in stream:
                if not summary.frames:
                    made = [
                        _writer(kind, target, stream, look, record)
                        for kind, target in targets.items()
                    ]
                    writers = [stack.enter_context(writer) for writer in made]
                result, key = causal(each.frame, stream.sound)
                summary.add(result, time.monotonic() - each.arrived, key=key)
                summary.dropped = stream.dropped
                if writers:
                    pixels = each.frame.rgb()
                    for writer in writers:
                        writer.write(pixels, result)
                if lines is not None:
                    lines.add(result, summary)
                if live.seconds is not None and result.time >= live.seconds - _SLACK:
                    break
    if stream.ended:
        logger.warning("%s has stopped (%s)", source.name, stream.ended)
    names = [
        each.name if isinstance(each, Address) else show_path(each) for each in targets.values()
    ]
    outputs = ", ".join(names) if summary.frames else ""
    print(summary.line(source.name, outputs), flush=True)
    if signal.SIGTERM in signals:
        raise SystemExit(128 + signal.SIGTERM)
    return 0


class Lines:
    """Prints what sounds, a line a second."""

    def __init__(self) -> None:
        self._next = 0.0

    def add(self, result: FrameResult, summary: LiveSummary) -> None:
        """Print a line if it is time."""
        if result.time < self._next:
            return
        self._next = result.time + _LINE_EVERY - _SLACK
        words = [
            f"{result.time:7.1f} s",
            f"loudness {result.audio_activity:.2f}",
            f"marked {result.mask.mean():6.1%}",
        ]
        words += [", ".join(_named(result))] if result.small_classes is not None else []
        words += [f"delay {summary.delays.quantile(0.5)} ms", f"dropped {summary.dropped}"]
        print("  ".join(word for word in words if word), flush=True)
        release_free_memory()


def _named(result: FrameResult) -> Iterator[str]:
    """What sounds, by name: as surely as the model says, or by its share of the picture."""
    if result.class_activity is not None:
        for k in np.argsort(-result.class_activity, kind="stable")[:_MOST_NAMES]:
            yield f"{result.class_names[k + 1]} {result.class_activity[k]:.2f}"
    elif result.classes is not None:
        for number in by_area(result.classes)[:_MOST_NAMES]:
            yield class_name(number, result.class_names)


def _targets(
    source: LiveSource, out: str | Path, formats: Sequence[str], *, force: bool
) -> dict[str, Path | Address]:
    """Where each output goes.

    Raises:
        UserError: If a format is not one of a stream, or an output exists or cannot be written.
    """
    for kind in formats:
        if kind not in FORMATS:
            raise UserError(
                f"--{kind} needs a file, which can be read again: write --overlay first, then predict that"
            )
    if "://" in str(out):
        if [*formats] != ["overlay"]:
            raise UserError("to an address goes the overlay alone: ask for no other output")
        return {"overlay": Address.parse(str(out))}
    folder = Path(out)
    targets: dict[str, Path | Address] = {}
    named = folder.suffix.lower() if not folder.is_dir() else ""
    for kind in formats:
        ending = WRITERS.get(kind).ending
        if not named:
            targets[kind] = folder / f"{source.label}{ending}"
        elif named in LiveOverlayWriter.suffixes and kind == "overlay":
            targets[kind] = folder
        else:
            targets[kind] = folder.with_name(folder.stem + ending)
    if named and named not in LiveOverlayWriter.suffixes:
        raise UserError(
            f"{show_path(folder)}: the overlay of a stream is .mp4 or .mov; other outputs go into a folder"
        )
    for path in targets.values():
        assert isinstance(path, Path)
        if path.exists() and not force:
            raise UserError(
                f"{show_path(path)} exists: choose another --out, or replace it with --force"
            )
        refuse_unwritable(path)
        remove_leftovers(path)
    return targets


def _writer(
    kind: str,
    target: Path | Address,
    stream: LiveStream,
    look: WriterOptions,
    record: ArrivedSound | None,
) -> FrameWriter:
    if kind == "overlay":
        silent = stream.silent and not (isinstance(stream.source, Camera) and stream.source.sound)
        return LiveOverlayWriter(target, stream.info, look, sound=None if silent else record)
    assert isinstance(target, Path)
    return WRITERS.get(kind)(target, stream.info, look)


@contextmanager
def _ended_by_signals(stop: Callable[[], None]) -> Iterator[set[int]]:
    """Ctrl-C and SIGTERM call `stop`, once: a second Ctrl-C interrupts as usual. Yields the signals that came."""
    came: set[int] = set()
    if threading.current_thread() is not threading.main_thread():  # there are no signals elsewhere
        yield came
        return
    before: dict[int, Any] = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }

    def handle(number: int, frame: object) -> None:
        came.add(number)
        signal.signal(number, before[number])
        stop()

    try:
        for number in before:
            signal.signal(number, handle)
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
