"""CLAP: sounds and texts in one space, so that any text can be listened for.

Wu et al., "Large-scale Contrastive Language-Audio Pretraining ...", arXiv 2211.06687.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ecmvae.audio.encoder import AudioEncoder
from ecmvae.errors import UserError
from ecmvae.foundation.loading import Loaded, load_network, load_tokenizer, number
from ecmvae.foundation.spectrograms import decibel_mel

NOTHING = ("silence", "noise")  # what a concept has to be likelier than


@dataclass(frozen=True)
class CLAPFrontEnd:
    """The mel spectrogram of the sound around a frame, repeated to the ten seconds that CLAP takes."""

    bands: int = 64
    size: int = 1024
    hop: int = 480
    lowest: float = 0.0
    highest: float = 14_000.0
    longest: float = 10.0
    sample_rate: int = 48_000
    seconds: float = 2.0

    @property
    def name(self) -> str:
        """Of these features."""
        return "clap-" + "-".join(f"{value:g}" for value in vars(self).values())

    @classmethod
    def of(cls, file: Mapping[str, Any]) -> CLAPFrontEnd:
        """The front end that preprocessor_config.json describes."""
        whole = (
            ("bands", "feature_size", 1024),
            ("size", "fft_window_size", 65_536),
            ("hop", "hop_length", 65_536),
        )
        return cls(
            **{
                name: int(number(file, key, getattr(cls, name), 1, most))
                for name, key, most in whole
            },
            lowest=number(file, "frequency_min", cls.lowest, 0, 96_000),
            highest=number(file, "frequency_max", cls.highest, 0, 96_000),
            longest=number(file, "max_length_s", cls.longest, cls.seconds, 60),
            sample_rate=int(number(file, "sampling_rate", cls.sample_rate, 4_000, 192_000)),
        )

    def __call__(self, waveforms: Float[Tensor, "n s"]) -> Float[Tensor, "n 1 w m"]:
        """(n, samples) -> (n, 1, windows, bands) in decibels."""
        length = int(self.longest * self.sample_rate)
        repeated = waveforms.repeat(1, max(length // waveforms.shape[1], 1))[:, :length]
        filled = F.pad(repeated, (0, length - repeated.shape[1]))
        band = (self.bands, self.size, self.hop, self.lowest, self.highest)
        return decibel_mel(filled, self.sample_rate, *band)[:, None]


class CLAP(AudioEncoder):
    """CLAP's audio branch and, to listen for texts, its text branch.

    Args:
        loaded: A ``ClapAudioModelWithProjection``, or a ``ClapModel``.
    """

    names = ()  # none of its own

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self.network, self.architecture, self.folder = (
            loaded.network,
            loaded.architecture,
            loaded.folder,
        )
        config = self.network.audio_model.config
        if config.enable_fusion:
            raise UserError("a CLAP with feature fusion is not supported: ecmvae fetch clap")
        self.front_end, self.dim = CLAPFrontEnd.of(loaded.preprocessor), int(config.projection_dim)
        self._texts: dict[tuple[str, ...], Tensor] = {}

    @classmethod
    def from_weights(
        cls,
        weights: str | None = None,
        *,
        pretrained: bool = True,
        architecture: Mapping[str, Any] | None = None,
        texts: bool = False,
    ) -> CLAP:
        """See `load_network`; `texts`: with the text branch, which `activities` needs."""
        from transformers import ClapAudioModelWithProjection, ClapModel

        network, section = (
            (ClapModel, None) if texts else (ClapAudioModelWithProjection, "audio_config")
        )
        given = {
            "kinds": ("clap",),
            "weights": weights,
            "pretrained": pretrained,
            "architecture": architecture,
        }
        return cls(load_network(network, default="clap", section=section, **given))  # type: ignore[arg-type]

    def forward(self, features: Float[Tensor, "n 1 w m"]) -> Float[Tensor, "n a"]:
        """Embeddings of length 1."""
        pooled = self.network.audio_model(input_features=features).pooler_output
        return F.normalize(self.network.audio_projection(pooled), dim=-1)

    listen = torch.no_grad()(forward)

    @torch.no_grad()
    def activities(
        self, heard: Float[Tensor, "n a"], concepts: Sequence[str]
    ) -> Float[Tensor, "n k"]:
        """Probability of each concept against `NOTHING`, whatever else sounds."""
        texts = self._embed((*concepts, *NOTHING)).to(heard)
        scores: Tensor = heard @ texts.T * self.network.logit_scale_a.exp()
        nothing: Tensor = scores[:, len(concepts) :].logsumexp(dim=1, keepdim=True)
        return (scores[:, : len(concepts)] - nothing).sigmoid()

    def _embed(self, texts: tuple[str, ...]) -> Float[Tensor, "k a"]:
        if texts not in self._texts:
            assert self.folder is not None
            sentences = [f"the sound of {text}" for text in texts]
            words = load_tokenizer(self.folder)(sentences, padding=True, return_tensors="pt").to(
                self.network.device
            )
            found = self.network.get_text_features(words.input_ids, words.attention_mask)
            self._texts = {texts: found.pooler_output}
        return self._texts[texts]
