"""What every output format shares: options, and files that appear whole or not at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import numpy as np
from jaxtyping import UInt8

from ecmvae.data.video import VideoInfo, VideoWriter
from ecmvae.data.video.writing import VideoCodec
from ecmvae.files import replacing
from ecmvae.prediction.options import WriterOptions
from ecmvae.prediction.result import FrameResult


class FrameWriter(ABC):
    """Writes one output, frame by frame.

    Used as a context manager: the output gets its name at the end of the block, and leaving the block with an error
    removes what was begun. A subclass sets the class attributes and implements `write`, often `open` and `finish`.

    Example:
        >>> class TimesWriter(FrameWriter):
        ...     '''The time of every frame, one a line.'''
        ...     ending, suffixes = ".times.txt", (".txt",)
        ...     def open(self):
        ...         self.file = self.stack.enter_context(self.part.open("w"))
        ...     def write(self, frame, result):
        ...         print(result.time, file=self.file)

    Args:
        path: The output.
        info: The source video.
        options: Choices that concern several formats.
    """

    ending: ClassVar[str]
    """Appended to the source's name, such as ".coco.json"."""
    suffixes: ClassVar[tuple[str, ...]] = ()
    """Suffixes of a given file name that select this format; "" for a folder."""
    label: ClassVar[str] = ""
    """What the web page calls the download; "" leaves it out."""
    uses_frame: ClassVar[bool] = True
    """Whether `write` looks at the frame; if no output does, the video is decoded once less, and frames are black."""

    def __init__(self, path: Path, info: VideoInfo, options: WriterOptions | None = None) -> None:
        self.path, self.info, self.options = path, info, options or WriterOptions()
        self.stack = ExitStack()
        """Closed after `finish`, or after an error: for files that `open` opens."""

    @classmethod
    def check_installed(cls) -> None:
        """Raise a `UserError` that names the extra when a package that this format needs is missing."""
        return

    @cached_property
    def part(self) -> Path:
        """Temporary path of the output; a file or a folder, it is renamed to `path` at the end."""
        return self.stack.enter_context(replacing(self.path))

    def open(self) -> None:  # noqa: B027  # not every format has something to open
        """Begin the output."""

    @abstractmethod
    def write(self, frame: UInt8[np.ndarray, "h w 3"], result: FrameResult) -> None:
        """Append a frame.

        Args:
            frame: (H, W, 3) RGB, as decoded from the source.
            result: Its mask, probability, classes and time.
        """

    def finish(self) -> None:  # noqa: B027
        """Complete the output after the last frame."""

    def open_video(
        self,
        *,
        width: int | None = None,
        height: int | None = None,
        sound: bool = True,
        codec: VideoCodec = "h264",
        quality: int = 20,
    ) -> VideoWriter:
        """A video at `path` with the source's size, frame rate and, if `sound`, its audio track.

        Args:
            width: Pixels; None = as the source.
            height: Likewise.
            sound: Copy the source's sound.
            codec: "h264", or "vp9" with transparency.
            quality: Constant rate factor; lower is better.
        """
        video = VideoWriter(
            self.path,
            width=width or self.info.width,
            height=height or self.info.height,
            fps=self.info.fps,
            codec=codec,
            alpha=codec == "vp9",
            quality=quality,
            copy_audio_from=self.info if sound else None,
            audio_track=self.options.audio_track,
            sample_aspect=self.info.sample_aspect,
        )
        return self.stack.enter_context(video)

    def __enter__(self) -> FrameWriter:
        with ExitStack() as self.stack:
            self.open()
            self.stack = self.stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            with self.stack:
                self.finish()
        else:
            self.stack.__exit__(kind, error, trace)
