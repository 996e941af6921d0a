"""VGGish: the audio encoder of AVSBench and ECMVAE, and a small relative for CPUs.

Hershey et al., "CNN Architectures for Large-Scale Audio Classification", arXiv 1609.09430. Input is the log-mel patch
of `ecmvae.data.audio.log_mel_patches`: 96 frames of 10 ms by 64 mel bins.
"""

from __future__ import annotations

from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from ecmvae.errors import UserError

EMBEDDING_DIM = 128


class VGGish(nn.Module):
    """The VGG-like network of AudioSet, with the tensor names of its released PyTorch weights.

    72,141,184 parameters. The embedding is taken after the last ReLU, so every entry is at least 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_conv_relu(1, 64),
            nn.MaxPool2d(2),
            *_conv_relu(64, 128),
            nn.MaxPool2d(2),
            *_conv_relu(128, 256),
            *_conv_relu(256, 256),
            nn.MaxPool2d(2),
            *_conv_relu(256, 512),
            *_conv_relu(512, 512),
            nn.MaxPool2d(2),
        )
        self.embeddings = nn.Sequential(
            nn.Linear(512 * 6 * 4, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, EMBEDDING_DIM),
            nn.ReLU(inplace=True),
        )

    def forward(self, patches: Float[Tensor, "n 1 96 64"]) -> Float[Tensor, "n 128"]:
        """Embed log-mel patches (n, 1, 96, 64) as (n, 128), entries >= 0."""
        features = self.features(patches)  # (n, 512, 6, 4)
        # TensorFlow's order: channels vary fastest.
        embedding: Tensor = self.embeddings(rearrange(features, "n c h w -> n (h w c)"))
        return embedding


class VGGishSmall(nn.Module):
    """VGGish's plan at a 500th of its cost, for training on a CPU.

    Strided convolutions with BatchNorm halve the patch four times in place of convolution and pooling; the two wide
    layers give way to the mean and the maximum over time, so that a short call in a second counts as much as a long
    one.

    Args:
        widths: Channels of the four stages.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (16, 32, 64, 128)) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for before, after in zip((1, *widths), widths, strict=False):
            stages += [
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        self.features = nn.Sequential(*stages)
        self.embeddings = nn.Sequential(nn.Linear(2 * 4 * widths[-1], EMBEDDING_DIM), nn.ReLU(inplace=True))

    def forward(self, patches: Float[Tensor, "n 1 96 64"]) -> Float[Tensor, "n 128"]:
        """Embed log-mel patches (n, 1, 96, 64) as (n, 128), entries >= 0."""
        features = self.features(patches)  # (n, c, time 6, mel 4)
        pooled = torch.cat([features.mean(2), features.amax(2)], dim=1)  # (n, 2c, mel 4)
        embedding: Tensor = self.embeddings(rearrange(pooled, "n c m -> n (c m)"))
        return embedding


_ENCODERS: dict[str, type[VGGish] | type[VGGishSmall]] = {"vggish": VGGish, "vggish_small": VGGishSmall}


def build_audio_encoder(name: str) -> VGGish | VGGishSmall:
    """Make the audio encoder of that name, with random weights.

    Raises:
        UserError: For an unknown name, listing the right ones.
    """
    if name not in _ENCODERS:
        raise UserError(f"unknown audio encoder {name!r}: choose from {', '.join(_ENCODERS)}")
    return _ENCODERS[name]()


def load_audio_weights(encoder: VGGish | VGGishSmall, path: str | Path) -> None:
    """Load weights into an audio encoder, in place.

    Args:
        encoder: The encoder to fill.
        path: A folder with model.safetensors (as `ecmvae train-audio` leaves it), a .safetensors file, or the
            released ``vggish-10086976.pth``.

    Raises:
        UserError: When the path does not exist or holds another network's weights.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "model.safetensors"
    if not file.is_file():
        raise UserError(f"audio weights not found: {file} (model.audio.weights; make them with ecmvae train-audio)")
    try:
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
        encoder.load_state_dict(state)
    except Exception as error:
        raise UserError(
            f"{file} does not hold the weights of {type(encoder).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error


def _conv_relu(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
