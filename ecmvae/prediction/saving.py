"""Running a prediction into files: one pass over the video, any number of outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np

from ecmvae.data.video import VideoInfo, probe, show_path, stream_frames
from ecmvae.errors import UserError
from ecmvae.prediction.outputs import (
    ArrayFile,
    CocoMasks,
    CutoutVideo,
    FrameWriter,
    MaskPictures,
    MaskVideo,
    OutputKind,
    OverlayOptions,
    OverlayVideo,
)
from ecmvae.prediction.result import FrameResult, VideoResult

ENDINGS: dict[OutputKind, str] = {
    "overlay": ".overlay.mp4",
    "cutout": ".cutout.webm",
    "mask-video": ".mask.mp4",
    "masks": ".masks",
    "coco": ".coco.json",
    "npz": ".npz",
}
"""What is appended to the source's name for each kind of output."""

_BY_SUFFIX: dict[str, OutputKind] = {
    ".mp4": "overlay",
    ".mov": "overlay",
    ".webm": "cutout",
    ".npz": "npz",
    ".json": "coco",
    "": "masks",
}


@dataclass(frozen=True)
class Summary:
    """What one video's prediction came to."""

    frames: int
    seconds: float
    """End of the last frame."""
    sounding: float
    """Share of frames with a mask."""
    area: float
    """Mean share of the picture in the mask."""
    highest: float
    """Highest probability of a key frame's pixel."""


def kind_of(path: Path) -> OutputKind:
    """The kind of output that a file name asks for.

    Raises:
        UserError: When no kind has this suffix.
    """
    kind = _BY_SUFFIX.get(path.suffix.lower())
    if kind is None:
        known = ", ".join(suffix for suffix in _BY_SUFFIX if suffix)
        raise UserError(f"{show_path(path)}: unknown kind of output {path.suffix!r}, use {known} or a folder name")
    return kind


def write_outputs(
    windows: Iterable[VideoResult],
    source: Path,
    targets: Mapping[OutputKind, Path],
    *,
    overlay: OverlayOptions | None = None,
    audio_track: int = 0,
    on_frame: Callable[[float], None] | None = None,
) -> Summary:
    """Decode a video alongside its prediction and write every wanted output.

    The video is decoded a second time, behind the predictor, so that no full-size frame waits for its mask.

    Args:
        windows: Consecutive results of one video, from its first frame.
        source: The video.
        targets: Kind of output -> path; existing files are replaced.
        overlay: Looks of the overlay.
        audio_track: Which audio track goes into the outputs.
        on_frame: Called with the time of every frame that is done.

    Raises:
        UserError: When the video cannot be read.
    """
    info = probe(source)
    highest = 0.0

    def frames_of_windows() -> Iterator[FrameResult]:
        nonlocal highest
        for window in windows:
            highest = max(highest, float(window.key_probabilities.max()))
            yield from window

    answers = frames_of_windows()
    first = next(answers)  # the predictor may refuse the file: before any output is begun
    frames = sounding = 0
    area = end = 0.0
    with ExitStack() as stack:
        writers = [
            stack.enter_context(_writer(kind, path, info, overlay or OverlayOptions(), audio_track))
            for kind, path in targets.items()
        ]
        decoded = stream_frames(source, warn=False)  # what is damaged has been said while it was predicted
        pictures = islice(decoded, first.index, None)
        for picture, answer in zip(pictures, chain([first], answers), strict=True):
            pixels = picture.rgb()
            for writer in writers:
                writer.write(pixels, answer)
            frames += 1
            masked = int(np.count_nonzero(answer.mask))
            sounding += masked > 0
            area += masked / answer.mask.size
            end = answer.time + picture.duration
            if on_frame is not None:
                on_frame(answer.time)
    return Summary(frames, end, sounding / frames, area / frames, highest)


def save_result(result: VideoResult, path: Path, *, overwrite: bool = False) -> Path:
    """Write a whole prediction as the kind of file that its name asks for; see `VideoResult.save`."""
    kind = kind_of(path)
    if path.exists() and not overwrite:
        raise UserError(f"{show_path(path)} exists: choose another name, or pass overwrite=True")
    if result.path is None:
        raise UserError("this result was predicted from arrays: there is no video to go with it, use its masks")
    if result.first_index:
        raise UserError(
            f"this window starts at frame {result.first_index}: join the windows from the first on, then save"
        )
    write_outputs([result], result.path, {kind: path}, audio_track=result.audio_track)
    return path


def _writer(kind: OutputKind, path: Path, info: VideoInfo, overlay: OverlayOptions, audio_track: int) -> FrameWriter:
    match kind:
        case "overlay":
            return OverlayVideo(path, info, overlay, audio_track)
        case "cutout":
            return CutoutVideo(path, info, audio_track)
        case "mask-video":
            return MaskVideo(path, info)
        case "masks":
            return MaskPictures(path)
        case "coco":
            return CocoMasks(path, info)
        case "npz":
            return ArrayFile(path)
