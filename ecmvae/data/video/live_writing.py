"""Writing a picture as it comes: into a file that can be played whenever it ends, or to an address."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ecmvae.data.video.addresses import Address
from ecmvae.data.video.container import reason
from ecmvae.data.video.sound import SoundBlock
from ecmvae.data.video.soundtrack import EncodedSound
from ecmvae.data.video.writing import VideoWriter
from ecmvae.errors import UserError

if TYPE_CHECKING:
    from av.container import OutputContainer

SOUND_RATE, SOUND_CHANNELS = 48_000, 2
"""Hz and channels of the sound that is written."""
_KEY_FRAMES = "50"
"""Frames from one that a player can start with to the next."""
_PATIENCE = 10.0
"""Seconds that a receiver may keep the writer waiting."""


class ArrivedSound:
    """Blocks of sound that have arrived and were not written yet: iterating ends where nothing is left, for now."""

    def __init__(self) -> None:
        self._blocks: deque[SoundBlock] = deque()

    def add(self, position: int, samples: NDArray[np.floating]) -> None:
        """Append a block (2, S) that begins at `position`."""
        self._blocks.append((position, samples))

    def __iter__(self) -> Iterator[SoundBlock]:
        return self

    def __next__(self) -> SoundBlock:
        if not self._blocks:
            raise StopIteration
        return self._blocks.popleft()


class LiveVideoWriter(VideoWriter):
    """H.264 without delay, in fragments: what a killed process has left of an MP4 file can be played, too.

    Args:
        target: A file, which gets its name when it is complete, or an address to send to.
        width: Pixels.
        height: Pixels.
        fps: Frames a second, about; every frame comes with its own time.
        sound: Where the sound arrives, at `SOUND_RATE` with `SOUND_CHANNELS`; None = without sound.
        sample_aspect: Width of a pixel over its height.

    Raises:
        UserError: If the address does not answer.
    """

    _index: ClassVar[str] = "+frag_keyframe+empty_moov+default_base_moof"
    _tuning: ClassVar[dict[str, str]] = {"tune": "zerolatency", "g": _KEY_FRAMES}

    def __init__(
        self,
        target: Path | Address,
        *,
        width: int,
        height: int,
        fps: Fraction,
        sound: ArrivedSound | None = None,
        sample_aspect: Fraction = Fraction(1),
    ) -> None:
        self._address = target if isinstance(target, Address) else None
        path = Path(target.label) if isinstance(target, Address) else target
        super().__init__(path, width=width, height=height, fps=fps, sample_aspect=sample_aspect)
        if sound is not None:
            self._sound = EncodedSound(self._container, iter(sound), SOUND_RATE, SOUND_CHANNELS)

    def _open(self, path: Path, stack: ExitStack) -> OutputContainer:
        if self._address is None:
            return super()._open(path, stack)
        import av

        address = self._address
        options = {**address.sending, "fflags": "+bitexact", "flush_packets": "1"}
        try:
            container = av.open(
                address.url,
                "w",
                format=address.muxer,
                container_options=options,
                timeout=(_PATIENCE, _PATIENCE),
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise UserError(
                f"cannot send to {address.name} ({reason(error)}): is anybody receiving there?"
            ) from error
        stack.callback(_close_quietly, container)
        return container

    def write(self, frame: NDArray[np.uint8], time: float | None = None) -> None:
        """Append a frame with the sound that has arrived, see `VideoWriter.write`.

        Raises:
            UserError: If the receiver is gone.
        """
        if self._address is None:
            super().write(frame, time)
            return
        import av

        try:
            super().write(frame, time)
        except (av.FFmpegError, OSError) as error:
            raise UserError(
                f"{self._address.name} takes no more ({reason(error)}): the receiver is gone"
            ) from error


def _close_quietly(container: Any) -> None:
    """Close what is sent; a receiver that has left already does not mind how it ends."""
    import av

    with suppress(av.FFmpegError, OSError):
        container.close()
