"""Networks of the SAM 2 family: the mask of whatever is in a box.

What they see of a picture (`embed`) does not depend on the boxes and is most of the work; `outline` answers any number
of boxes from it. Their memory of earlier frames is not used: every frame is answered alone, so that answers can be kept
and computed in batches. `ecmvae.prediction.tracking` follows the objects.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ecmvae.foundation.loading import Loaded, TransformersNetwork
from ecmvae.foundation.visual.plain_vit import normalisation_in


class BoxPrompted(TransformersNetwork, nn.Module):
    """From boxes to masks.

    Args:
        loaded: A network of transformers with SAM 2's interface; weights of the video model hold those of this one.
    """

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self.keep(loaded)
        self.normalisation = normalisation_in(loaded.preprocessor)
        self.image_size = int(self.network.prompt_encoder.input_image_size)
        self.map_size = int(self.network.backbone_feature_sizes[0][0])

    @torch.no_grad()
    def embed(self, frames: Float[Tensor, "n 3 h w"]) -> list[Tensor]:
        """What is seen: three maps (N, C_i, H_i, W_i), finest first."""
        size = (self.image_size, self.image_size)
        if frames.shape[-2:] != size:
            frames = F.interpolate(frames, size, mode="bilinear", antialias=True)
        maps: list[Tensor] = self.network.get_image_embeddings(frames)
        return maps

    @torch.no_grad()
    def outline(self, maps: list[Tensor], corners: Float[Tensor, "d 4"]) -> Float[Tensor, "d p p"]:
        """Logits of what is in each of D boxes of one picture.

        Args:
            maps: What `embed` returned, of one picture: (1, C_i, H_i, W_i).
            corners: Left, top, right and bottom in [0, 1] of the picture's sides.

        Returns:
            (D, P, P), a quarter of the picture's resolution.
        """
        boxes = corners[None] * self.image_size
        found = self.network(image_embeddings=maps, input_boxes=boxes, multimask_output=False)
        masks: Tensor = found.pred_masks[0, :, 0].float()
        return masks
