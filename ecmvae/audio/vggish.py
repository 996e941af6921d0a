"""VGGish: the audio encoder of AVSBench and ECMVAE, and a small relative for CPUs.

Hershey et al., "CNN Architectures for Large-Scale Audio Classification", arXiv 1609.09430. Input is the log-mel patch
of `ecmvae.audio.io.log_mel_patches`: 96 frames of 10 ms by 64 mel bins.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.errors import UserError
from ecmvae.weight_files import compare_keys, read_weight_file

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


class VGGishPostprocessor(nn.Module):
    """What AudioSet publishes of an embedding: its PCA, clipped to +-2 and rounded to 8 bits.

    ECMVAE and AVSBench take embeddings as they are; this is for those who compare with AudioSet's features.

    Args:
        eigen_vectors: (128, 128), one component a row.
        means: (128,) or (128, 1), subtracted first.
    """

    def __init__(self, eigen_vectors: Float[Tensor, "128 128"], means: Tensor) -> None:
        super().__init__()
        self.register_buffer("pca_eigen_vectors", eigen_vectors)
        self.register_buffer("pca_means", means.reshape(EMBEDDING_DIM))
        self.pca_eigen_vectors: Tensor
        self.pca_means: Tensor

    @classmethod
    def from_file(cls, path: str | Path) -> VGGishPostprocessor:
        """Read the released ``vggish_pca_params-970ea276.pth``.

        Raises:
            UserError: When the file is missing, damaged or another one.
        """
        state = {key.removeprefix("pproc."): value.float() for key, value in read_weight_file(path).items()}
        if "pca_means" in state:
            state["pca_means"] = state["pca_means"].flatten()  # (128,) or (128, 1)
        own = {"pca_eigen_vectors": torch.empty(EMBEDDING_DIM, EMBEDDING_DIM), "pca_means": torch.empty(EMBEDDING_DIM)}
        compare_keys(f"{path} as VGGish's PCA", own, state)
        return cls(state["pca_eigen_vectors"], state["pca_means"])

    def project(self, embedding: Float[Tensor, "n 128"]) -> Float[Tensor, "n 128"]:
        """Principal components of embeddings (n, 128)."""
        return (embedding - self.pca_means) @ self.pca_eigen_vectors.T

    def forward(self, embedding: Float[Tensor, "n 128"]) -> Float[Tensor, "n 128"]:
        """Embeddings (n, 128) -> whole numbers 0 ... 255 (n, 128), as floats."""
        return ((self.project(embedding).clamp(-2, 2) + 2) * (255 / 4)).round()


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
        raise UserError(
            f"audio weights not found: {file} (model.audio.weights): docs/weights.md says where VGGish's file is from, "
            "and ecmvae train-audio makes a folder of your own"
        )
    fill_audio_encoder(encoder, read_weight_file(file), str(file))


def fill_audio_encoder(encoder: VGGish | VGGishSmall, state: Mapping[str, Tensor], where: str) -> None:
    """Fill an audio encoder, in place, from tensors that carry its own names.

    A PCA kept beside the network (``pproc.*`` in the released extractor) is left out, see `VGGishPostprocessor`.

    Raises:
        UserError: Naming the keys that are missing, unexpected or of another shape.
    """
    own = encoder.state_dict()
    given = {key: value for key, value in state.items() if not key.startswith("pproc.")}
    try:
        compare_keys(where, own, given)
    except UserError as error:
        raise UserError(f"{where} does not hold the weights of {type(encoder).__name__}: {error}") from None
    encoder.load_state_dict({**own, **given})


def _conv_relu(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
