"""Write a prediction into files: one pass over the video, any number of outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecmvae.data.video import VideoInfo, probe, show_path, stream_frames
from ecmvae.errors import UserError
from ecmvae.prediction.ahead import worked_ahead
from ecmvae.prediction.options import WriterOptions
from ecmvae.prediction.writers import WRITERS

if TYPE_CHECKING:
    from ecmvae.prediction.result import FrameResult, VideoResult
    from ecmvae.prediction.writers.base import FrameWriter


@dataclass(frozen=True)
class Summary:
    """Figures of one video's prediction."""

    frames: int
    seconds: float
    """End of the last frame."""
    sounding: float
    """Share of frames with a mask."""
    area: float
    """Mean share of the picture in the mask."""
    highest: float
    """Highest probability of a key frame's pixel."""


def write_outputs(
    windows: Iterable[VideoResult],
    source: Path | VideoInfo,
    targets: Mapping[str, Path] | Mapping[type[FrameWriter], Path],
    *,
    options: WriterOptions | None = None,
    on_frame: Callable[[float], None] | None = None,
) -> Summary:
    """Decode a video alongside its prediction and write every requested output.

    The video is decoded a second time, behind the predictor, so that no full-size frame waits for its mask; not if no
    output has the picture in it.

    Args:
        windows: Consecutive results of one video, from its first frame.
        source: The video; its `VideoInfo` if it was probed already.
        targets: Output format (a name of `WRITERS`, an import path or a class) -> path; existing files are replaced.
        options: Choices that concern several formats.
        on_frame: Called with the time of every frame that is done.

    Raises:
        UserError: If the video cannot be read, its second decoding yields another number of frames, no window is
            available, or the format is unknown.
    """
    info = source if isinstance(source, VideoInfo) else probe(source)
    highest = 0.0

    def frames_of(windows: Iterable[VideoResult]) -> Iterator[FrameResult]:
        nonlocal highest
        for window in windows:
            highest = max(highest, float(window.key_probabilities.max()))
            yield from window

    frames = sounding = 0
    area = end = 0.0
    with ExitStack() as stack:
        answers = frames_of(stack.enter_context(closing(worked_ahead(iter(windows)))))
        first = next(answers, None)  # the predictor may refuse the file: before any output is begun
        if first is None:
            raise UserError(
                f"no frame of {show_path(info.path)} was predicted: there is nothing to write"
            )
        writers = [
            stack.enter_context(WRITERS.get(kind)(path, info, options))
            for kind, path in targets.items()
        ]
        needed = any(writer.uses_frame for writer in writers)
        for pixels, duration, answer in _with_pictures(
            chain([first], answers), first.index, info, needed=needed
        ):
            for writer in writers:
                writer.write(pixels, answer)
            frames += 1
            masked = int(np.count_nonzero(answer.mask))
            sounding += masked > 0
            area += masked / answer.mask.size
            end = answer.time + duration
            if on_frame is not None:
                on_frame(answer.time)
    return Summary(frames, end, sounding / frames, area / frames, highest)


def _with_pictures(
    answers: Iterator[FrameResult], start: int, info: VideoInfo, *, needed: bool
) -> Iterator[tuple[np.ndarray, float, FrameResult]]:
    """Each answer with its frame (H, W, 3) and the frame's duration; black frames where no picture is needed."""
    if not needed:
        black = np.broadcast_to(np.uint8(0), (info.height, info.width, 3))
        yield from ((black, float(1 / info.fps), answer) for answer in answers)
        return
    decoded = stream_frames(info.path, warn=False)  # the predictor has logged what is damaged
    for picture, answer in zip_longest(islice(decoded, start, None), answers):
        if picture is None or answer is None:
            raise UserError(
                f"{show_path(info.path)} decoded to another number of frames the second time: "
                "it is damaged, or was changed meanwhile"
            )
        yield picture.rgb(), picture.duration, answer
