"""Results of a prediction: small maps at key frames, from which masks of every source frame are made on demand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Float16, Float64, Int32, UInt8

from ecmvae.data.letterbox import Letterbox
from ecmvae.errors import UserError
from ecmvae.files import show_path
from ecmvae.prediction import render
from ecmvae.prediction.measures import binary_entropy
from ecmvae.prediction.objects import SoundingObject, objects_in
from ecmvae.prediction.options import WriterOptions
from ecmvae.prediction.temporal import interpolate_in_time

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from supervision import Detections

    from ecmvae.prediction.writers.base import FrameWriter


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameResult:
    """The answer for one source frame; maps at source size are made when they are first asked for.

    Attributes:
        index: Number of the frame in the source, from 0.
        time: Seconds since the first frame.
        audio_activity: Loudness in [0, 1]: 0 is -60 dB of full scale or less, 1 is full scale.
        threshold: A pixel is in the mask where its probability is above it.
        geometry: How the source lies in the model's square.
        small_probability: (1, h, w) float32, at the model's size.
        small_uncertainty: Makes the (1, h, w) float32 map at the model's size; it is called when somebody looks.
        small_classes: (h, w) uint8, likeliest class of the nearest key frame; None from a model that knows no classes.
        small_things: (h, w) int32, thing at each pixel of the nearest key frame; None where things are not told apart.
        class_names: Names of the classes by number, where they are known.
        class_activity: (C,) float32, how surely each class but the background sounds; None where that is not known.
    """

    index: int
    time: float
    audio_activity: float
    threshold: float
    geometry: Letterbox
    small_probability: Float[np.ndarray, "1 h w"]
    small_uncertainty: Callable[[], Float[np.ndarray, "1 h w"]]
    small_classes: UInt8[np.ndarray, "h w"] | None = None
    class_names: tuple[str, ...] = ()
    class_activity: Float[np.ndarray, " c"] | None = None
    small_things: Int32[np.ndarray, "h w"] | None = None

    def __repr__(self) -> str:
        share = float((self.small_probability > self.threshold).mean())
        size = f"{self.geometry.width}x{self.geometry.height}"
        return f"<FrameResult: frame {self.index} at {self.time:.2f} s, {size}, {share:.1%} masked>"

    @cached_property
    def probability(self) -> Float[np.ndarray, "h0 w0"]:
        """(H0, W0) float32, that this pixel belongs to a sounding object."""
        return render.enlarge(self.small_probability[0], self.geometry.height, self.geometry.width)

    @cached_property
    def uncertainty(self) -> Float[np.ndarray, "h0 w0"]:
        """(H0, W0) float32 in [0, 1], entropy in bits of the mean probability."""
        return render.enlarge(
            self.small_uncertainty()[0], self.geometry.height, self.geometry.width
        )

    @cached_property
    def mask(self) -> Bool[np.ndarray, "h0 w0"]:
        """(H0, W0) bool, True where an object sounds."""
        # Interpolation does not go above the highest value by more than it rounds.
        if float(self.small_probability.max()) < self.threshold * (1 - 1e-6):
            return np.zeros((self.geometry.height, self.geometry.width), bool)
        return self.probability > self.threshold

    @cached_property
    def classes(self) -> UInt8[np.ndarray, "h0 w0"] | None:
        """(H0, W0) uint8, class of every pixel in the mask and 0 elsewhere; None from a model without classes."""
        return None if self.small_classes is None else self._marked(self.small_classes)

    @cached_property
    def things(self) -> Int32[np.ndarray, "h0 w0"] | None:
        """(H0, W0) int32, number of the thing at every pixel in the mask, kept through the video; 0 elsewhere.

        None from a model that does not tell things of one class apart.
        """
        return None if self.small_things is None else self._marked(self.small_things)

    @cached_property
    def objects(self) -> list[SoundingObject]:
        """What sounds: a mask for each thing, or for each class where things are not told apart, or a single one."""
        return objects_in(self.mask, self.classes, self.class_names, self.things)

    def _marked(self, small: np.ndarray) -> np.ndarray:
        """Numbers at the model's size as those of the mask's pixels."""
        rows, columns = (
            ((np.arange(full) + 0.5) * size / full).astype(int)  # the nearest centre
            for full, size in zip(
                (self.geometry.height, self.geometry.width), small.shape, strict=True
            )
        )
        marked: np.ndarray = small[rows[:, None], columns] * self.mask
        return marked

    def to_supervision(self) -> Detections:
        """This frame's masks as `supervision.Detections`: one for each of `objects`; none where none sounds.

        `confidence` is the highest probability in the mask, `data["class_name"]` its name, and `tracker_id` its number
        where things are told apart.

        Raises:
            UserError: If supervision is not installed.
        """
        if find_spec("supervision") is None:
            raise UserError("this needs supervision: pip install 'ecmvae[supervision]'")
        import supervision

        found = sorted(self.objects, key=lambda each: (each.category, each.track or 0))
        if not found:
            return supervision.Detections.empty()
        masks = np.stack([each.mask for each in found])
        tracked = self.small_things is not None
        return supervision.Detections(
            xyxy=supervision.mask_to_xyxy(masks).astype(np.float32),
            mask=masks,
            confidence=np.array([self.probability[mask].max() for mask in masks]),
            class_id=np.array([each.category for each in found]),
            tracker_id=np.array([each.track or 0 for each in found]) if tracked else None,
            data={"class_name": np.array([each.name for each in found])},
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoResult:
    """Masks of a video, or of a window of it.

    Kept small: maps of the model's size at the key frames, in half precision. `masks`, `probabilities` and
    `uncertainty` are computed at source size on access, for all frames at once; for a long video go through the
    frames one by one instead (`for frame in result`).

    Attributes:
        path: The video; None for a prediction from arrays, which cannot be drawn.
        geometry: How the source lies in the model's square.
        threshold: A pixel is in the mask where its probability is above it.
        first_index: Number of the first frame of this window in the source.
        audio_track: Which audio track was heard.
        timestamps: (F,) float64, seconds of every source frame since the first of the video.
        audio_activity: (F,) float32 in [0, 1], loudness around every frame on a scale from -60 dB to full scale.
        key_times: (K,) float64, seconds of the key frames.
        key_probabilities: (K, h, w) float16.
        key_classes: (K, h, w) uint8, the likeliest class but the background; None from a model without classes.
        class_names: Names of the classes by number, where they are known.
        key_activity: (K, C) float16, how surely each class but the background sounds, C = len(class_names) - 1; None
            where the model does not say.
        key_things: (K, h, w) int32, number of the thing at each pixel; None from a model that does not tell things of
            one class apart.
    """

    path: Path | None
    geometry: Letterbox
    threshold: float
    first_index: int
    audio_track: int
    timestamps: Float64[np.ndarray, " f"]
    audio_activity: Float[np.ndarray, " f"]
    key_times: Float64[np.ndarray, " k"]
    key_probabilities: Float16[np.ndarray, "k h w"]
    key_classes: UInt8[np.ndarray, "k h w"] | None = None
    class_names: tuple[str, ...] = ()
    key_activity: Float16[np.ndarray, "k c"] | None = None
    key_things: Int32[np.ndarray, "k h w"] | None = None

    def __repr__(self) -> str:
        size, count = f"{self.geometry.width}x{self.geometry.height}", len(self)
        marked = int((self.key_probabilities > self.threshold).any(axis=(1, 2)).sum())
        name = "pictures" if self.path is None else show_path(self.path)
        return (
            f"<VideoResult: {name}, {count} frame{'s' * (count != 1)} of {size} from {self.timestamps[0]:.2f} s to "
            f"{self.timestamps[-1]:.2f} s, something sounds in {marked} of {len(self.key_times)} key frames>"
        )

    def __len__(self) -> int:
        return len(self.timestamps)

    def __iter__(self) -> Iterator[FrameResult]:
        """The frames in order; one at source size is in memory at a time."""
        for position in range(len(self)):
            yield self.frame(position)

    def frame(self, position: int) -> FrameResult:
        """The answer for frame number `position` of this result."""
        time = float(self.timestamps[position])
        # between two classes there is nothing to interpolate
        nearest = int(np.abs(self.key_times - time).argmin())
        return FrameResult(
            index=self.first_index + position,
            time=time,
            audio_activity=float(self.audio_activity[position]),
            threshold=self.threshold,
            geometry=self.geometry,
            small_probability=self._small(self.key_probabilities, slice(position, position + 1)),
            small_uncertainty=lambda: self._small(
                self.key_uncertainty, slice(position, position + 1)
            ),
            small_classes=None if self.key_classes is None else self.key_classes[nearest],
            class_names=self.class_names,
            class_activity=None
            if self.key_activity is None
            else self._activity(slice(position, position + 1))[0],
            small_things=None if self.key_things is None else self.key_things[nearest],
        )

    @property
    def activity(self) -> dict[str, Float[np.ndarray, " f"]] | None:
        """How surely each class but the background sounds at every frame, by its name: (F,) float32 in [0, 1]."""
        if self.key_activity is None:
            return None
        return dict(zip(self.class_names[1:], self._activity(slice(None)).T, strict=True))

    def heard(self, threshold: float = 0.5) -> tuple[str, ...]:
        """Names of the classes that sound at some time, most active first; empty where none of them does.

        Args:
            threshold: Activity above which a class sounds.
        """
        if self.key_activity is None:
            return ()
        highest = self.key_activity.max(axis=0)
        return tuple(
            self.class_names[k + 1]
            for k in np.argsort(-highest, kind="stable")
            if highest[k] > threshold
        )

    def to_supervision(self) -> Iterator[Detections]:
        """Each frame's masks as `supervision.Detections`, in order, see `FrameResult.to_supervision`."""
        return (frame.to_supervision() for frame in self)

    @cached_property
    def key_uncertainty(self) -> Float16[np.ndarray, "k h w"]:
        """(K, h, w) float16, entropy in bits of the probabilities; made when somebody looks."""
        return binary_entropy(self.key_probabilities.astype(np.float32)).astype(np.float16)

    @cached_property
    def masks(self) -> Bool[np.ndarray, "f h w"]:
        """(F, H0, W0) bool, True where an object sounds."""
        return self._at_source_size("mask", np.bool_)

    @property
    def classes(self) -> UInt8[np.ndarray, "f h w"] | None:
        """(F, H0, W0) uint8, class of every pixel in the masks and 0 elsewhere; None from a model without classes."""
        return None if self.key_classes is None else self._at_source_size("classes", np.uint8)

    @property
    def things(self) -> Int32[np.ndarray, "f h w"] | None:
        """(F, H0, W0) int32, number of the thing at every pixel in the masks, 0 elsewhere; see `FrameResult.things`."""
        return None if self.key_things is None else self._at_source_size("things", np.int32)

    @property
    def probabilities(self) -> Float[np.ndarray, "f h w"]:
        """(F, H0, W0) float32 in [0, 1]."""
        return self._at_source_size("probability", np.float32)

    @property
    def uncertainty(self) -> Float[np.ndarray, "f h w"]:
        """(F, H0, W0) float32 in [0, 1]: entropy of the mean probability, in bits."""
        return self._at_source_size("uncertainty", np.float32)

    @property
    def masked_area(self) -> Float[np.ndarray, " f"]:
        """(F,) float32: share of each frame that is in the mask, measured at the model's size."""
        small = self._small(self.key_probabilities, slice(None))
        share: np.ndarray = (small > self.threshold).mean(axis=(1, 2), dtype=np.float32)
        return share

    def with_threshold(self, threshold: float) -> VideoResult:
        """The same prediction cut at another threshold."""
        return replace(self, threshold=threshold)

    def save(
        self,
        path: str | Path,
        writer: str | type[FrameWriter] | None = None,
        *,
        options: WriterOptions | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write the result to a file.

        Args:
            path: `.mp4` = overlay with the video's own sound, `.webm` = cut-out with transparency, `.npz` = arrays,
                `.json` = COCO run-length masks, a name without suffix = a folder of PNG masks.
            writer: Output format in place of the one that the suffix selects: a name of
                `ecmvae.prediction.writers.WRITERS`, an import path, or a class.
            options: Style of the overlay, aspect of the reframed video.
            overwrite: Replace an existing file.

        Returns:
            The path.

        Raises:
            UserError: If the path exists, or its suffix belongs to no format.
        """
        from ecmvae.prediction.saving import write_outputs
        from ecmvae.prediction.writers import WRITERS, writer_for

        path = Path(path)
        kind = writer_for(path) if writer is None else writer
        if path.exists() and not overwrite:
            raise UserError(
                f"{show_path(path)} exists: choose another name, or pass overwrite=True"
            )
        if self.path is None:
            raise UserError(
                "this result was predicted from arrays: there is no video to go with it, use its masks"
            )
        if self.first_index:
            raise UserError(
                f"this window starts at frame {self.first_index}: join the windows from the first on, then save"
            )
        options = replace(options or WriterOptions(), audio_track=self.audio_track)
        write_outputs([self], self.path, {WRITERS.get(kind): path}, options=options)
        return path

    def plot(self, count: int = 6) -> Figure:
        """A figure: frames with their masks, and below them loudness, masked area and uncertainty over time.

        Args:
            count: How many frames to show.
        """
        from ecmvae.prediction.plot import plot_result

        return plot_result(self, count)

    @staticmethod
    def join(windows: Sequence[VideoResult]) -> VideoResult:
        """One result of consecutive windows of the same video.

        Raises:
            ValueError: When there is no window.
        """
        if not windows:
            raise ValueError("nothing to join: there is no window")
        # Neighbouring windows share a key frame: it is kept once.
        starts = [-math.inf, *(float(window.key_times[-1]) for window in windows[:-1])]

        def together(name: str) -> Any:
            if getattr(windows[0], name) is None:
                return None
            pairs = zip(windows, starts, strict=True)
            return np.concatenate(
                [getattr(window, name)[window.key_times > start] for window, start in pairs]
            )

        return replace(
            windows[0],
            timestamps=np.concatenate([window.timestamps for window in windows]),
            audio_activity=np.concatenate([window.audio_activity for window in windows]),
            key_times=together("key_times"),
            key_probabilities=together("key_probabilities"),
            key_classes=together("key_classes"),
            key_activity=together("key_activity"),
            key_things=together("key_things"),
        )

    def _small(self, maps: np.ndarray, which: slice) -> np.ndarray:
        """Maps of some source frames, float32 at the model's size."""
        return interpolate_in_time(maps, self.key_times, self.timestamps[which])

    def _activity(self, which: slice) -> Float[np.ndarray, "f c"]:
        """Activities of some source frames."""
        assert self.key_activity is not None
        return interpolate_in_time(
            self.key_activity[:, :, None], self.key_times, self.timestamps[which]
        )[:, :, 0]

    def _at_source_size(self, name: str, kind: type[np.generic]) -> np.ndarray:
        """(F, H0, W0): one map a frame, put together without a second copy of them all."""
        together = np.empty((len(self), self.geometry.height, self.geometry.width), kind)
        for position, frame in enumerate(self):
            together[position] = getattr(frame, name)
        return together
