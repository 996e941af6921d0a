"""CLIPSeg: where in a picture a text is.

Lüddecke and Ecker, "Image Segmentation Using Text and Image Prompts", arXiv 2112.10003. What it sees of a picture does
not depend on the text, is small, and is most of the work: `look` returns it, `outline` answers any number of texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.errors import UserError
from ecmvae.foreign_text import short
from ecmvae.foundation.kept import identity
from ecmvae.foundation.loading import Loaded, TransformersNetwork, load_tokenizer
from ecmvae.foundation.visual.plain_vit import normalisation_in

_SIDE = 352
"""Pixels of the square that the released weights were trained with."""


class CLIPSeg(TransformersNetwork, nn.Module):
    """A text-prompted segmenter.

    Args:
        loaded: A ``CLIPSegForImageSegmentation``.
    """

    model, kinds, default = "CLIPSegForImageSegmentation", ("clipseg",), "clipseg"

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self.keep(loaded)
        self.normalisation = normalisation_in(loaded.preprocessor)
        self.patch = int(self.network.config.vision_config.patch_size)
        self.image_size = _side(loaded.preprocessor, self.patch)
        self._texts: dict[tuple[str, ...], Tensor] = {}

    @property
    def identity(self) -> str:
        """Of the network and its weights; "" if they are random."""
        return identity(type(self).__name__, self.folder)

    @torch.no_grad()
    def look(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n l p r"]:
        """What is seen: of each of L layers, the P tokens of the picture, as the decoder takes them."""
        seen = self.network.clip.vision_model(frames, output_hidden_states=True).hidden_states
        layers = [seen[layer + 1] for layer in reversed(self.network.extract_layers)]
        decoder = self.network.decoder
        return torch.stack(
            [take(layer) for take, layer in zip(decoder.reduces, layers, strict=True)], dim=1
        )

    @torch.no_grad()
    def outline(
        self, looked: Float[Tensor, "l p r"], prompts: Sequence[str]
    ) -> Float[Tensor, "k s s"]:
        """Logits of K texts in one picture, (K, S, S)."""
        decoder, texts = self.network.decoder, self._embed(tuple(prompts)).to(looked)
        state: Tensor = torch.zeros_like(looked[0])[None]
        for depth, (seen, layer) in enumerate(zip(looked, decoder.layers, strict=True)):
            state = state + seen
            if depth == decoder.conditional_layer:
                state = decoder.film_mul(texts)[:, None] * state + decoder.film_add(texts)[:, None]
            state = layer(state, attention_mask=None)
        grid = self.image_size // self.patch
        # the first token is the class token
        cells = rearrange(state[:, 1:], "k (h w) r -> k r h w", h=grid)
        logits: Tensor = decoder.transposed_convolution(cells)
        return logits[:, 0]

    def _embed(self, prompts: tuple[str, ...]) -> Float[Tensor, "k d"]:
        """Embeddings of texts; those of the last call are kept."""
        if lacking := [prompt for prompt in dict.fromkeys(prompts) if (prompt,) not in self._texts]:
            assert self.folder is not None
            words = load_tokenizer(self.folder)(
                lacking, padding=True, truncation=True, return_tensors="pt"
            )
            words = words.to(next(self.network.parameters()).device)
            found = self.network.clip.get_text_features(
                words.input_ids, attention_mask=words.attention_mask
            )
            self._texts |= {
                (prompt,): row for prompt, row in zip(lacking, found.pooler_output, strict=True)
            }
        return torch.stack([self._texts[prompt,] for prompt in prompts])


def _side(preprocessor: Mapping[str, Any], patch: int) -> int:
    """Side of the square pictures, in pixels."""
    size = preprocessor.get("size", _SIDE)
    side = size.get("height", _SIDE) if isinstance(size, Mapping) else size
    if (
        isinstance(side, bool)
        or not isinstance(side, int)
        or not 32 <= side <= 2048
        or side % patch
    ):
        raise UserError(
            f"preprocessor_config.json says {short(size)} for size: needed is a multiple of {patch} up to 2048"
        )
    return side
