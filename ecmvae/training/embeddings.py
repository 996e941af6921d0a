"""Embeddings of a frozen foundation audio encoder, computed once per clip and kept on disk or in memory.

A clip that sounds the same in every epoch is heard once: AST, for instance, needs over 100 billion multiplications for
each second. The key is the features themselves, so silence, another clip's sound and the clip's own are told apart.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ecmvae.files import replace_bytes
from ecmvae.models import Segmenter
from ecmvae.training.features import weights_digest

_KEY = "embeddings"
_MOST = 200_000
"""Clips whose embeddings are kept in memory: at five of 768 numbers each, 3 GB."""


class EmbeddingCache:
    """`Segmenter.encode_audio` that remembers.

    Args:
        model: Its audio encoder must be frozen.
        folder: Where embeddings are kept for other processes and runs; None = in memory alone.

    Raises:
        ValueError: If the audio encoder is being trained, or there is none.
    """

    def __init__(self, model: Segmenter, folder: str | Path | None = None) -> None:
        encoder: Any = model.audio_encoder
        if encoder is None or any(parameter.requires_grad for parameter in encoder.parameters()):
            raise ValueError(
                "only a frozen audio encoder's embeddings can be cached: set model.audio.frozen: true"
            )
        self._model = model
        digest = f"{encoder.front_end.name} {weights_digest(encoder)}"
        name = f"embeddings-{hashlib.sha256(digest.encode()).hexdigest()[:16]}"
        self._folder = None if folder is None else Path(folder) / name
        self._kept: dict[str, Tensor] = {}
        self.computed = 0

    @staticmethod
    def serves(model: Segmenter) -> bool:
        """Whether a model's audio encoder is worth it: a foundation model that is not trained."""
        encoder: Any = model.audio_encoder
        return hasattr(encoder, "architecture") and not any(
            each.requires_grad for each in encoder.parameters()
        )

    @torch.no_grad()
    def __call__(self, features: Float[Tensor, "b t *f"]) -> Float[Tensor, "b t a"]:
        """Features (B, T, ...) -> embeddings (B, T, A), on the features' device."""
        rows = features.cpu().contiguous()
        keys = [_digest(row) for row in rows]
        found = {
            key: row
            for key in dict.fromkeys(keys)
            if (row := self._look_up(key, len(rows[0]))) is not None
        }
        new = [number for number, key in enumerate(keys) if key not in found]
        if new:
            self.computed += len(new)
            for number, row in zip(
                new, self._model.encode_audio(features[new]).float().cpu(), strict=True
            ):
                found[keys[number]] = row.contiguous()
                self._keep(keys[number], row.contiguous())
        return torch.stack([found[key] for key in keys]).to(features.device)

    def _look_up(self, key: str, frames: int) -> Tensor | None:
        if key in self._kept or self._folder is None:
            return self._kept.get(key)
        try:
            row = load_file(self._path(key))[_KEY]
        except (OSError, SafetensorError, KeyError):  # missing, or cut short: it is computed again
            return None
        if row.shape != (frames, self._model.audio_dim) or row.dtype != torch.float32:
            return None
        self._remember(key, row)
        return row

    def _keep(self, key: str, row: Tensor) -> None:
        self._remember(key, row)
        if self._folder is not None:
            replace_bytes(self._path(key), save({_KEY: row}))

    def _remember(self, key: str, row: Tensor) -> None:
        if len(self._kept) < _MOST:
            self._kept[key] = row

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / key[:2] / f"{key}.safetensors"


def _digest(row: Tensor) -> str:
    digest = hashlib.blake2b(f"{row.dtype} {tuple(row.shape)}".encode(), digest_size=16)
    digest.update(row.numpy().data)
    return digest.hexdigest()
