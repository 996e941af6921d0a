"""The overlay of a picture that is still coming in."""

from __future__ import annotations

from pathlib import Path

from ecmvae.data.video import VideoInfo, VideoWriter
from ecmvae.data.video.addresses import Address
from ecmvae.data.video.live_writing import ArrivedSound, LiveVideoWriter
from ecmvae.data.video.writing import VideoCodec
from ecmvae.prediction.options import WriterOptions
from ecmvae.prediction.writers.videos import OverlayWriter


class LiveOverlayWriter(OverlayWriter):
    """The stream with its masks and its sound: into a file that can be played whenever it ends, or to an address.

    Args:
        target: A file or an address.
        info: What arrives.
        options: Choices that concern several formats.
        sound: Where the sound arrives; None = there is none.
    """

    def __init__(
        self,
        target: Path | Address,
        info: VideoInfo,
        options: WriterOptions | None = None,
        *,
        sound: ArrivedSound | None = None,
    ) -> None:
        super().__init__(
            Path(target.label) if isinstance(target, Address) else target, info, options
        )
        self._target, self._arrived = target, sound

    def open_video(
        self,
        *,
        width: int | None = None,
        height: int | None = None,
        sound: bool = True,
        codec: VideoCodec = "h264",
        quality: int = 20,
    ) -> VideoWriter:
        """A video that can be played whenever it ends; codec and quality are fixed."""
        video = LiveVideoWriter(
            self._target,
            width=width or self.info.width,
            height=height or self.info.height,
            fps=self.info.fps,
            sound=self._arrived if sound else None,
            sample_aspect=self.info.sample_aspect,
        )
        return self.stack.enter_context(video)
