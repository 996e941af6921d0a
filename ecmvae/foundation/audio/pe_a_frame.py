"""PE-A-Frame: Meta's Perception Encoder for audio, an embedding every 40 ms, in one space with texts.

In transformers as ``PeAudioFrameLevelModel``; weights under Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ecmvae.audio.encoder import AudioEncoder
from ecmvae.foundation.loading import (
    Loaded,
    TransformersNetwork,
    load_tokenizer,
    number,
)

_SECOND, _MOMENT = 1.0, 0.25
"""Seconds around a frame whose embeddings are averaged, for training and for tagging."""


@dataclass(frozen=True)
class PEAFrameFrontEnd:
    """The waveform itself, a whole number of the network's steps long."""

    step: int = 1920
    sample_rate: int = 48_000

    @property
    def seconds(self) -> float:
        """Four, rounded to whole steps: context on both sides of the frame."""
        return max(round(4 * self.sample_rate / self.step), 1) * self.step / self.sample_rate

    @property
    def name(self) -> str:
        """Of these features."""
        return f"pe_a_frame-{self.step}-{self.sample_rate}"

    @classmethod
    def of(cls, file: Mapping[str, Any]) -> PEAFrameFrontEnd:
        """The front end that preprocessor_config.json describes."""
        return cls(
            step=int(number(file, "hop_length", cls.step, 1, 192_000)),
            sample_rate=int(number(file, "sampling_rate", cls.sample_rate, 4_000, 192_000)),
        )

    def __call__(self, waveforms: Float[Tensor, "n s"]) -> Float[Tensor, "n 1 s"]:
        """(n, samples) -> (n, 1, samples)."""
        return waveforms[:, None].float()


class PEAFrame(TransformersNetwork, AudioEncoder):
    """The audio branch of PE-A-Frame and, to listen for texts, its text branch.

    Args:
        loaded: A ``PeAudioFrameLevelModel``.
        texts: Keep the text branch, which `activities` needs.
    """

    model, kinds, default = "PeAudioFrameLevelModel", ("pe_audio",), "pe-a-frame"

    front_end: PEAFrameFrontEnd
    names = ()  # none of its own

    def __init__(self, loaded: Loaded, *, texts: bool = False) -> None:
        super().__init__()
        self.keep(loaded)
        if not texts:
            self.network.text_model = self.network.text_audio_head = None
        self.front_end = PEAFrameFrontEnd.of(loaded.preprocessor)
        self.dim = int(self.network.config.text_config.hidden_size)
        self._texts: dict[tuple[str, ...], Tensor] = {}

    @classmethod
    def from_weights(
        cls,
        weights: str | None = None,
        *,
        pretrained: bool = True,
        architecture: Mapping[str, Any] | None = None,
        texts: bool = False,
    ) -> PEAFrame:
        """See `ecmvae.foundation.loading.load_network`; `texts`: with the text branch, which `activities` needs."""
        return cls(cls.load(weights, pretrained, architecture), texts=texts)

    def forward(self, features: Float[Tensor, "n 1 s"]) -> Float[Tensor, "n a"]:
        """The mean embedding of the second around the frame."""
        return self._around(features, _SECOND)

    @torch.no_grad()
    def listen(self, features: Float[Tensor, "n 1 s"]) -> Float[Tensor, "n a"]:
        """The mean embedding of the quarter of a second around the frame."""
        return self._around(features, _MOMENT)

    @torch.no_grad()
    def activities(
        self, heard: Float[Tensor, "n a"], concepts: Sequence[str]
    ) -> Float[Tensor, "n k"]:
        """Probability of each concept, whatever else sounds."""
        if (key := tuple(concepts)) not in self._texts:
            assert self.folder is not None
            words = load_tokenizer(self.folder)(list(key), padding=True, return_tensors="pt").to(
                heard.device
            )
            read = self.network.text_model(
                words.input_ids, words.attention_mask, output_hidden_states=True
            )
            self._texts = {key: self.network.text_audio_head(read.hidden_states[-1][:, 0])}
        scores = heard @ self._texts[key].to(heard).T
        logits: Tensor = (
            scores * self.network.text_audio_logit_scale + self.network.text_audio_logit_bias
        )
        return logits.sigmoid()

    def _around(self, features: Tensor, seconds: float) -> Float[Tensor, "n a"]:
        embeddings: Tensor = self.network.get_audio_embeds(features)  # (n, steps, a)
        steps = embeddings.shape[1]
        half = max(round(seconds * self.front_end.sample_rate / self.front_end.step / 2), 1)
        return embeddings[:, max(steps // 2 - half, 0) : steps // 2 + half].mean(dim=1)
