"""VGGish: the audio encoder of AVSBench and ECMVAE, with its log-mel front end, and a small relative for CPUs.

Hershey et al., "CNN Architectures for Large-Scale Audio Classification", arXiv 1609.09430. The front end is VGGish's,
number for number: 25 ms periodic Hann windows every 10 ms, magnitude spectrum, 64 HTK mel bands from 125 to 7,500 Hz,
``log(mel + 0.01)``, cut into patches of 96 windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.audio.encoder import AudioEncoder, sound_windows
from ecmvae.audio.io import resample
from ecmvae.audio.log_mel import (
    HOP,
    MEL_BINS,
    PATCH_WINDOWS,
    SAMPLE_RATE,
    VGGISH_OFFSET,
    WINDOW,
    log_mel_patch,
)
from ecmvae.weight_files import compare_keys, read_weight_file

EMBEDDING_DIM = 128

RELEASED_HOP_SECONDS = 0.96
"""Distance of the patches in the released AVSBench data: five of them span 4.8 s, so patch k drifts off second k."""


@dataclass(frozen=True)
class VGGishFrontEnd:
    """The log-mel patch of the second around a frame: (n, 16000) -> (n, 1, 96, 64), natural logarithm.

    The patch is the first 96 of the second's 98 windows.
    """

    name: ClassVar[str] = "vggish"
    offset: ClassVar[float] = VGGISH_OFFSET
    """Added to a mel band before its logarithm is taken."""
    sample_rate: ClassVar[int] = SAMPLE_RATE
    seconds: ClassVar[float] = 1.0
    feature_shape: ClassVar[tuple[int, int, int]] = (1, PATCH_WINDOWS, MEL_BINS)

    def __call__(self, waveforms: Float[Tensor, "n s"]) -> Float[Tensor, "n 1 96 64"]:
        """Log-mel patches of waveforms (n, 16000)."""
        patches = log_mel_patch(waveforms.detach().cpu().float().numpy(), self.offset)
        return torch.from_numpy(patches).to(waveforms.device)


class VGGish(AudioEncoder):
    """The VGG-like network of AudioSet, with the tensor names of its released PyTorch weights.

    72,141,184 parameters. The embedding is taken after the last ReLU, so every entry is at least 0.
    """

    front_end = VGGishFrontEnd()
    dim = EMBEDDING_DIM

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, *widths in ((1, 64), (64, 128), (128, 256, 256), (256, 512, 512)):
            for after in widths:
                layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
                before = after
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
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
        state = {
            key.removeprefix("pproc."): value.float()
            for key, value in read_weight_file(path).items()
        }
        if "pca_means" in state:
            state["pca_means"] = state["pca_means"].flatten()  # (128,) or (128, 1)
        own = {
            "pca_eigen_vectors": torch.empty(EMBEDDING_DIM, EMBEDDING_DIM),
            "pca_means": torch.empty(EMBEDDING_DIM),
        }
        compare_keys(f"{path} as VGGish's PCA", own, state)
        return cls(state["pca_eigen_vectors"], state["pca_means"])

    def project(self, embedding: Float[Tensor, "n 128"]) -> Float[Tensor, "n 128"]:
        """Principal components of embeddings (n, 128)."""
        return (embedding - self.pca_means) @ self.pca_eigen_vectors.T

    def forward(self, embedding: Float[Tensor, "n 128"]) -> Float[Tensor, "n 128"]:
        """Embeddings (n, 128) -> whole numbers 0 ... 255 (n, 128), as floats."""
        return ((self.project(embedding).clamp(-2, 2) + 2) * (255 / 4)).round()


class VGGishSmall(AudioEncoder):
    """VGGish's plan at a 500th of its cost, for training on a CPU.

    Strided convolutions with BatchNorm halve the patch four times; the mean and the maximum over time replace the two
    wide layers, so that a short call in a second counts as much as a long one.
    """

    front_end = VGGishFrontEnd()
    dim = EMBEDDING_DIM

    def __init__(self, widths: tuple[int, int, int, int] = (16, 32, 64, 128)) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for before, after in zip((1, *widths), widths, strict=False):
            convolution = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
            stages += [convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*stages)
        self.embeddings = nn.Sequential(
            nn.Linear(2 * 4 * widths[-1], EMBEDDING_DIM), nn.ReLU(inplace=True)
        )

    def forward(self, patches: Float[Tensor, "n 1 96 64"]) -> Float[Tensor, "n 128"]:
        """Embed log-mel patches (n, 1, 96, 64) as (n, 128), entries >= 0."""
        features = self.features(patches)  # (n, c, time 6, mel 4)
        pooled = torch.cat([features.mean(2), features.amax(2)], dim=1)  # (n, 2c, mel 4)
        embedding: Tensor = self.embeddings(rearrange(pooled, "n c m -> n (c m)"))
        return embedding


def num_log_mel_patches(num_samples: int, hop_seconds: float = RELEASED_HOP_SECONDS) -> int:
    """How many whole patches `log_mel_patches` cuts out of `num_samples` samples at 16 kHz."""
    windows = 0 if num_samples < WINDOW else 1 + (num_samples - WINDOW) // HOP
    count = 0
    while round(count * hop_seconds * SAMPLE_RATE / HOP) + PATCH_WINDOWS <= windows:
        count += 1
    return count


def log_mel_patches(
    waveform: Float[Tensor, " s"],
    sample_rate: int = SAMPLE_RATE,
    hop_seconds: float = RELEASED_HOP_SECONDS,
    num_patches: int | None = None,
) -> Float[Tensor, "p 1 96 64"]:
    """Cut a waveform into the log-mel patches that VGGish reads.

    Args:
        waveform: (S,) one channel in [-1, 1].
        sample_rate: Rate of `waveform` in Hz; anything but 16,000 is resampled first.
        hop_seconds: Distance of two patches' starts. Patch k starts at window ``round(100 k hop_seconds)`` and is
            0.96 s long. 0.96 is the released preprocessing; 1.0 keeps patch k inside second k.
        num_patches: How many patches to return: later sound is cut off and missing sound is silence. None returns
            the whole patches that there are and drops an incomplete tail, as the released preprocessing does.

    Returns:
        (P, 1, 96, 64) float32, natural logarithm.

    Raises:
        ValueError: If `hop_seconds` is below 0.01 or `num_patches` is negative.
    """
    if hop_seconds < 1 / 100 or (num_patches or 0) < 0:
        raise ValueError(
            f"hop_seconds={hop_seconds} must be at least 0.01, num_patches={num_patches} not negative"
        )
    sound, front_end = resample(waveform.float(), sample_rate), VGGishFrontEnd()
    count = num_log_mel_patches(len(sound), hop_seconds) if num_patches is None else num_patches
    if count == 0:
        return sound.new_zeros(0, *front_end.feature_shape)
    return front_end(sound_windows(sound, SAMPLE_RATE, front_end, count, hop_seconds))
