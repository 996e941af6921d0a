"""Sound: front ends and encoders, sound files, and the conditions under which a model is tested.

An encoder from outside the package is one class, see `ecmvae.audio.encoder`; it is named by import path or passed as an
object.
"""

from __future__ import annotations

from typing import Any

from ecmvae.registry import Registry

AUDIO_ENCODERS: Registry[Any] = Registry(
    "audio encoder",
    {"vggish": "ecmvae.audio.vggish:VGGish", "vggish_small": "ecmvae.audio.vggish:VGGishSmall"},
)
"""Audio encoders by name; an entry is called without arguments and returns an `ecmvae.audio.encoder.AudioEncoder`."""
