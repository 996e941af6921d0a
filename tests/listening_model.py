"""A model whose answer is known: bright pixels sound whenever it is loud. Shaped like `ECMVAE`, without weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ecmvae.audio.vggish import VGGishFrontEnd
from ecmvae.visual.normalisation import IMAGENET


@dataclass(frozen=True)
class Output:
    logits: Tensor


class ListeningModel(nn.Module):
    """Logits +8 where the picture is brighter than `level` and the second is loud, -8 elsewhere."""

    class_names: tuple[str, ...] = ()

    def __init__(self, image_size: int = 64, num_frames: int = 5, level: float = 0.7) -> None:
        super().__init__()
        self.image_size, self.num_frames, self.level = image_size, num_frames, level
        self.front_end, self.normalisation = VGGishFrontEnd(), IMAGENET
        self.seen_shapes: list[tuple[int, ...]] = []

    def encode_audio(self, features: Tensor) -> Tensor:
        loudest = features.amax(dim=(2, 3, 4))  # (B, T); silence is log(0.01) = -4.6
        return loudest[..., None].expand(-1, -1, 128)

    def forward(
        self,
        frames: Tensor,
        audio: Tensor,
        latents: str = "sample",
        features: Sequence[Tensor] | None = None,
    ) -> Output:
        self.seen_shapes.append(tuple(frames.shape))
        brightness = self.normalisation.pictures(frames).mean(dim=2, keepdim=True)
        loud = (audio[..., 0] > 0)[..., None, None, None]
        logits = torch.where((brightness > self.level) & loud, 8.0, -8.0)
        if latents == "sample":
            logits = logits + torch.randn_like(logits)
        return Output(logits)

    def sample_logits(self, frames: Tensor, audio: Tensor, num_samples: int) -> Tensor:
        return torch.stack([self(frames, audio).logits for _ in range(num_samples)])
