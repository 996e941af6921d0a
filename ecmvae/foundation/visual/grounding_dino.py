"""Grounding DINO: boxes around what texts name.

Liu et al., "Grounding DINO: Marrying DINO with Grounded Pre-Training for Open-Set Object Detection", arXiv 2303.05499.
Picture and texts meet in its encoder, so that other texts are another pass of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.errors import UserError
from ecmvae.foreign_text import short
from ecmvae.foundation.loading import Loaded, TransformersNetwork, load_tokenizer
from ecmvae.foundation.visual.plain_vit import normalisation_in


class GroundingDINO(TransformersNetwork, nn.Module):
    """An open-vocabulary detector.

    Args:
        loaded: A ``GroundingDinoForObjectDetection``.
    """

    model, kinds, default = (
        "GroundingDinoForObjectDetection",
        ("grounding-dino",),
        "grounding-dino-tiny",
    )

    threshold = 0.35
    """Score of a box above which it is kept, as in the authors' examples."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self.keep(loaded)
        self.normalisation = normalisation_in(loaded.preprocessor)
        self._tokenizer: Any = None

    @torch.no_grad()
    def detect(
        self, frames: Float[Tensor, "n 3 h w"], prompts: Sequence[str]
    ) -> tuple[Float[Tensor, "n q 4"], Float[Tensor, "n q k"]]:
        """Boxes in pictures, and how well each of K texts names what is in each of them.

        A picture is asked for as many texts at a time as the network can read, which is usually all of them.

        Returns:
            Left, top, right and bottom in [0, 1] of the picture's sides, (N, Q, 4); scores in [0, 1], (N, Q, K).

        Raises:
            UserError: If a text is too long, or has no words.
        """
        corners, scores = [], []
        words = self._words(prompts)
        for start, stop in self._captions([len(each) for each in words], prompts):
            boxes, likeness = self._ask(frames, words[start:stop])
            corners.append(boxes)
            others = likeness.new_zeros(*likeness.shape[:2], len(prompts))
            others[..., start:stop] = likeness
            scores.append(others)
        return torch.cat(corners, dim=1), torch.cat(scores, dim=1)

    def _ask(self, frames: Tensor, words: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Boxes and scores of texts that fit into one caption."""
        tokens, spans = [self._tokenizer.cls_token_id], []  # a dog. a guitar.
        for each in words:
            spans.append(slice(len(tokens), len(tokens) + len(each)))
            tokens += [*each, self._tokenizer.convert_tokens_to_ids(".")]
        caption = torch.tensor([*tokens, self._tokenizer.sep_token_id], device=frames.device)
        found = self.network(pixel_values=frames, input_ids=caption.expand(len(frames), -1))
        likeness = found.logits.float().sigmoid()  # of each token
        scores = torch.stack([likeness[..., span].amax(dim=-1) for span in spans], dim=-1)
        centre, size = found.pred_boxes.float().split(2, dim=-1)
        return torch.cat([centre - size / 2, centre + size / 2], dim=-1).clamp(0, 1), scores

    def _words(self, prompts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text; a full stop separates texts, and is a space within one."""
        if self._tokenizer is None:
            assert self.folder is not None
            self._tokenizer = load_tokenizer(self.folder)
        plain = [prompt.lower().replace(".", " ") for prompt in prompts]
        words: list[list[int]] = self._tokenizer(plain, add_special_tokens=False).input_ids
        for prompt, found in zip(prompts, words, strict=True):
            if not found:
                raise UserError(
                    f"the concept {short(prompt)} has no words to look for: write it in words"
                )
        return words

    def _captions(self, lengths: Sequence[int], prompts: Sequence[str]) -> list[tuple[int, int]]:
        """First text of each caption, and the one after its last."""
        room, starts, used = int(self.network.config.max_text_len) - 2, [0], 0
        for place, length in enumerate(lengths):
            if length + 1 > room:
                raise UserError(
                    f"the concept {short(prompts[place])} is too long for the detector: use fewer words"
                )
            used += length + 1
            if used > room:
                starts.append(place)
                used = length + 1
        return list(zip(starts, [*starts[1:], len(prompts)], strict=True))
