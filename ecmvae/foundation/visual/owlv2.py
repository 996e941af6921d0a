"""OWLv2: boxes around what texts name, by the likeness of each patch to each text.

Minderer, Gritsenko and Houlsby, "Scaling Open-Vocabulary Object Detection", arXiv 2306.09683.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ecmvae.foundation.loading import Loaded, TransformersNetwork, load_tokenizer
from ecmvae.foundation.visual.plain_vit import normalisation_in


class OWLv2(TransformersNetwork, nn.Module):
    """An open-vocabulary detector.

    Args:
        loaded: An ``Owlv2ForObjectDetection``.
    """

    model, kinds, default = "Owlv2ForObjectDetection", ("owlv2",), "owlv2-base"

    threshold = 0.1
    """Score of a box above which it is kept, as in transformers' examples."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self.keep(loaded)
        self.normalisation = normalisation_in(loaded.preprocessor)
        self.image_size = int(self.network.config.vision_config.image_size)
        self._tokenizer: Any = None

    @torch.no_grad()
    def detect(
        self, frames: Float[Tensor, "n 3 h w"], prompts: Sequence[str]
    ) -> tuple[Float[Tensor, "n q 4"], Float[Tensor, "n q k"]]:
        """A box for every patch, and how well each of K texts names what is in it.

        Returns:
            Left, top, right and bottom in [0, 1] of the picture's sides, (N, Q, 4); scores in [0, 1], (N, Q, K).
        """
        if self._tokenizer is None:
            assert self.folder is not None
            self._tokenizer = load_tokenizer(self.folder)
        longest = int(self.network.config.text_config.max_position_embeddings)
        words = self._tokenizer(
            list(prompts), padding=True, truncation=True, max_length=longest, return_tensors="pt"
        ).to(frames.device)
        texts = self.network.owlv2.get_text_features(
            words.input_ids, attention_mask=words.attention_mask
        )
        size = (self.image_size, self.image_size)
        if frames.shape[-2:] != size:
            frames = F.interpolate(frames, size, mode="bilinear", antialias=True)
        maps, _ = self.network.image_embedder(frames)
        patches = maps.flatten(1, 2)  # (N, Q, C)
        likeness, _ = self.network.class_predictor(
            patches, texts.pooler_output.expand(len(frames), -1, -1)
        )
        centre, size_ = self.network.box_predictor(patches, maps).float().split(2, dim=-1)
        corners = torch.cat([centre - size_ / 2, centre + size_ / 2], dim=-1).clamp(0, 1)
        return corners, likeness.float().sigmoid()
