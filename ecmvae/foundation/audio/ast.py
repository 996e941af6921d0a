"""AST: the Audio Spectrogram Transformer, trained on AudioSet; what sounds, by AudioSet's names.

Gong, Chung and Glass, "AST: Audio Spectrogram Transformer", arXiv 2104.01778.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ecmvae.audio.encoder import AudioEncoder
from ecmvae.foundation.loading import Loaded, TransformersNetwork, number
from ecmvae.foundation.spectrograms import kaldi_filter_bank

_SECONDS = 2.0


@dataclass(frozen=True)
class ASTFrontEnd:
    """Kaldi's log filter bank of the sound around a frame, standardised, with zeros after its end.

    AST was trained on ten seconds; two of them say better *when* something sounds.
    """

    rows: int = 1024
    bands: int = 128
    mean: float = -4.2677393
    std: float = 4.5689974
    sample_rate: int = 16_000

    @property
    def seconds(self) -> float:
        """Two, or as many as the network takes."""
        return min(_SECONDS, (self.rows - 1) * 0.01 + 0.025)

    @property
    def name(self) -> str:
        """Of these features."""
        return f"ast-{self.rows}x{self.bands}-{self.mean:g}-{self.std:g}-{self.sample_rate}"

    @classmethod
    def of(cls, loaded: Loaded) -> ASTFrontEnd:
        """The front end that a network was trained with."""
        config, file = loaded.network.config, loaded.preprocessor
        return cls(
            rows=int(config.max_length),
            bands=int(config.num_mel_bins),
            mean=number(file, "mean", cls.mean, -100, 100),
            std=number(file, "std", cls.std, 1e-3, 100),
            sample_rate=int(number(file, "sampling_rate", cls.sample_rate, 4_000, 192_000)),
        )

    def __call__(self, waveforms: Float[Tensor, "n s"]) -> Float[Tensor, "n w m"]:
        """(n, samples) -> (n, rows, bands)."""
        bank = kaldi_filter_bank(waveforms, self.sample_rate, self.bands)[:, : self.rows]
        return (F.pad(bank, (0, 0, 0, self.rows - bank.shape[1])) - self.mean) / (2 * self.std)


class AST(TransformersNetwork, AudioEncoder):
    """AST with its classifier: an embedding for training, scores of its names for tagging.

    Args:
        loaded: An ``ASTForAudioClassification``.
    """

    model, kinds, default = "ASTForAudioClassification", ("audio-spectrogram-transformer",), "ast"

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self.keep(loaded)
        self.front_end = ASTFrontEnd.of(loaded)
        self.dim = int(self.network.config.hidden_size)
        labels: Mapping[int, str] = self.network.config.id2label
        self.names = tuple(str(labels[number]) for number in sorted(labels))

    def forward(self, features: Float[Tensor, "n w m"]) -> Float[Tensor, "n a"]:
        """The mean of its two class tokens."""
        embedding: Tensor = self.network.audio_spectrogram_transformer(features).pooler_output
        return embedding

    @torch.no_grad()
    def listen(self, features: Float[Tensor, "n w m"]) -> Float[Tensor, "n k"]:
        """Probability in [0, 1] that each of its names sounds; they do not exclude each other."""
        scores: Tensor = self.network(features).logits
        return scores.sigmoid()
