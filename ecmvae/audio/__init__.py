"""Sound: front ends and encoders, sound files, and the conditions under which a model is tested.

An encoder from outside the package is one class, see `ecmvae.audio.encoder`; it is named by import path or passed as an
object.
"""

from __future__ import annotations

from typing import Any

from ecmvae.registry import Registry

AUDIO_ENCODERS: Registry[Any] = Registry(
    "audio encoder",
    {
        "vggish": "ecmvae.audio.vggish:VGGish",
        "vggish_small": "ecmvae.audio.vggish:VGGishSmall",
        # Trained elsewhere: YAMNet's weights come with ecmvae, the others' from the hub's cache or a folder of it.
        "yamnet": "ecmvae.foundation.audio.yamnet:YAMNet",
        "yamnet_128": "ecmvae.foundation.audio.yamnet:ProjectedYAMNet",
        "ast": "ecmvae.foundation.audio.ast:AST",
        "clap": "ecmvae.foundation.audio.clap:CLAP",
        "pe_a_frame": "ecmvae.foundation.audio.pe_a_frame:PEAFrame",
    },
)
"""Audio encoders by name; an entry is called without arguments and returns an `ecmvae.audio.encoder.AudioEncoder`.

One that brings its own weights has ``from_weights(weights, *, pretrained, architecture)`` in place of that.
"""
