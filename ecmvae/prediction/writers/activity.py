"""When what sounds, for spreadsheets and for editors: curves as CSV, spans as markers in EDL and OpenTimelineIO."""

from __future__ import annotations

import csv
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from ecmvae.errors import UserError
from ecmvae.prediction.result import FrameResult
from ecmvae.prediction.spans import SpanCollector
from ecmvae.prediction.writers.base import FrameWriter

if TYPE_CHECKING:
    from opentimelineio.opentime import RationalTime
    from opentimelineio.schema import Timeline

_COLOURS = (
    "RED",
    "GREEN",
    "BLUE",
    "CYAN",
    "MAGENTA",
    "YELLOW",
    "ORANGE",
    "PINK",
    "PURPLE",
    "WHITE",
)


class ActivityWriter(FrameWriter):
    """A row a frame: time, loudness, masked share of the picture and, of a model with classes, a column for each.

    A class's column holds how surely it sounds, where the model says that, else its share of the picture.
    """

    ending, suffixes = ".activity.csv", (".csv",)
    uses_frame = False

    def open(self) -> None:
        """Begin the table."""
        self._rows = csv.writer(
            self.stack.enter_context(self.part.open("w", encoding="utf-8", newline=""))
        )
        self._begun = False

    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Append a row."""
        if not self._begun:
            self._begun = True
            self._rows.writerow(["frame", "time", "loudness", "area", *self._columns(result)])
        values = [result.audio_activity, result.mask.mean(), *self._values(result)]
        self._rows.writerow(
            [result.index, f"{result.time:.4f}", *(f"{value:.4f}" for value in values)]
        )

    @staticmethod
    def _columns(result: FrameResult) -> tuple[str, ...]:
        return () if result.small_classes is None else result.class_names[1:]

    @staticmethod
    def _values(result: FrameResult) -> list[float]:
        if result.class_activity is not None:
            return [float(value) for value in result.class_activity]
        if result.classes is None or not result.class_names:
            return []
        counts = np.bincount(result.classes.ravel(), minlength=len(result.class_names))
        return [float(count) / result.classes.size for count in counts[1:]]


class OtioWriter(FrameWriter):
    """A timeline with the video as its clip and a marker for each span in which a class sounds: OpenTimelineIO."""

    ending, suffixes = ".otio", (".otio",)
    uses_frame = False

    @classmethod
    def check_installed(cls) -> None:
        """Raise a `UserError` if OpenTimelineIO is missing."""
        if find_spec("opentimelineio") is None:
            raise UserError("timelines need OpenTimelineIO: pip install 'ecmvae[otio]'")

    def open(self) -> None:
        """Begin to collect spans."""
        self._spans = SpanCollector(float(1 / self.info.fps))
        self._end = 0.0

    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Note what sounds; the frame itself is not used."""
        self._spans.add(result)
        self._end = result.time + float(1 / self.info.fps)

    def finish(self) -> None:
        """Write the timeline."""
        import opentimelineio

        opentimelineio.adapters.write_to_file(self._timeline(float(self.info.fps)), str(self.part))

    def _timeline(self, rate: float) -> Timeline:
        from opentimelineio.opentime import RationalTime, TimeRange
        from opentimelineio.schema import Clip, ExternalReference, Marker, Timeline, Track

        def moment(seconds: float) -> RationalTime:
            return RationalTime(round(seconds * rate), rate)

        def span(start: float, end: float) -> TimeRange:
            return TimeRange.range_from_start_end_time(moment(start), moment(end))

        whole = span(0.0, self._end)
        media = ExternalReference(target_url=self.info.path.name, available_range=whole)
        clip = Clip(self.info.path.stem, media_reference=media, source_range=whole)
        spans = self._spans.spans()
        names = sorted({each.name for each in spans})
        for each in spans:
            colour = _COLOURS[names.index(each.name) % len(_COLOURS)]
            clip.markers.append(Marker(each.name, span(each.start, each.end), color=colour))
        track = Track("V1", kind="Video")
        track.append(clip)
        timeline = Timeline(self.info.path.stem)
        timeline.tracks.append(track)
        return timeline


class EdlWriter(OtioWriter):
    """The same markers as a CMX 3600 edit decision list, which says where each span starts."""

    ending, suffixes = ".edl", (".edl",)

    @classmethod
    def check_installed(cls) -> None:
        """Raise a `UserError` if OpenTimelineIO or its adapter for EDL is missing."""
        if find_spec("opentimelineio") is None or find_spec("otio_cmx3600_adapter") is None:
            raise UserError("edit decision lists need OpenTimelineIO: pip install 'ecmvae[otio]'")

    def finish(self) -> None:
        """Write the list; timecode knows certain rates only, so another rate becomes the nearest of these."""
        import opentimelineio
        from opentimelineio.opentime import RationalTime

        rate = float(RationalTime.nearest_smpte_timecode_rate(float(self.info.fps)))
        timeline = self._timeline(rate)
        opentimelineio.adapters.write_to_file(
            timeline, str(self.part), adapter_name="cmx_3600", rate=rate
        )
