"""YAMNet: MobileNetV1 on log-mel patches, trained by Google on AudioSet to name 521 sounds (Apache-2.0).

Plakal and Ellis, "YAMNet", tensorflow/models, research/audioset/yamnet. Its front end is VGGish's with
``log(mel + 0.001)``. The weights come with ecmvae (docs/foundation.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.audio.encoder import AudioEncoder, fill_audio_encoder, load_audio_weights
from ecmvae.audio.log_mel import PATCH_WINDOWS, YAMNET_OFFSET
from ecmvae.audio.vggish import VGGishFrontEnd
from ecmvae.foundation.names import yamnet_names
from ecmvae.hub.catalogue import PACKAGE, PACKAGED_YAMNET, WEIGHTS
from ecmvae.visual.timm_models import create
from ecmvae.weight_files import read_weight_file


@dataclass(frozen=True)
class YAMNetFrontEnd(VGGishFrontEnd):
    """VGGish's log-mel patch with another offset: (n, 16000) -> (n, 1, 96, 64)."""

    name: ClassVar[str] = "yamnet"
    offset: ClassVar[float] = YAMNET_OFFSET


class YAMNet(AudioEncoder):
    """YAMNet with its classifier: an embedding for training, scores of its names for tagging.

    3,740,425 parameters, with the tensor names of timm's ``mobilenetv1_100``. The embedding is the mean over the patch
    after the last ReLU, so every entry is at least 0.
    """

    front_end = YAMNetFrontEnd()
    dim = 1024
    folder: Path | None = None
    """Where its weights are from; None = they are random, or of a file."""

    def __init__(self) -> None:
        super().__init__()
        self.network = create(
            "mobilenetv1_100",
            image_size=PATCH_WINDOWS,
            in_chans=1,
            num_classes=len(self.names),
            act_layer=nn.ReLU,
            pad_type="same",  # TensorFlow's padding
            bn_eps=1e-4,
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What it names, in the order of `listen`."""
        return yamnet_names()

    @classmethod
    def from_weights(
        cls,
        weights: str | None = None,
        *,
        pretrained: bool = True,
        architecture: Mapping[str, Any] | None = None,
    ) -> YAMNet:
        """YAMNet with its weights.

        Args:
            weights: A folder or file of ecmvae, as `ecmvae.audio.encoder.load_audio_weights` reads it; None or
                "package" = Google's, which come with ecmvae.
            pretrained: False leaves random weights.
            architecture: Has no effect: there is one.

        Raises:
            UserError: If the file is missing or holds the weights of another network.
        """
        encoder = cls()
        if not pretrained:
            return encoder
        if weights is not None and weights != PACKAGE:
            load_audio_weights(encoder, weights)
            encoder.folder = Path(weights) if Path(weights).is_dir() else None
            return encoder
        state = {
            name.removeprefix("network."): tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in read_weight_file(PACKAGED_YAMNET / WEIGHTS).items()
        }
        fill_audio_encoder(encoder.network, state, "the package")
        encoder.folder = PACKAGED_YAMNET
        return encoder

    def forward(self, patches: Float[Tensor, "n 1 96 64"]) -> Float[Tensor, "n a"]:
        """Embed log-mel patches (n, 1, 96, 64), entries >= 0."""
        return self.hear(patches)[0]

    def hear(
        self, patches: Float[Tensor, "n 1 96 64"]
    ) -> tuple[Float[Tensor, "n a"], Float[Tensor, "n 521"]]:
        """The embedding, and the probability in [0, 1] that each name sounds; they do not exclude each other."""
        maps = self.network.forward_features(patches)
        means = self.network.forward_head(maps, pre_logits=True)
        scores: Tensor = self.network.get_classifier()(means)
        return self.embed(means), scores.sigmoid()

    def embed(self, means: Float[Tensor, "n 1024"]) -> Float[Tensor, "n a"]:
        """From the means of the last maps to the embedding."""
        return means

    @torch.no_grad()
    def listen(self, features: Float[Tensor, "n 1 96 64"]) -> Float[Tensor, "n 521"]:
        """The probabilities of `hear`."""
        return self.hear(features)[1]


class ProjectedYAMNet(YAMNet):
    """YAMNet, which stays as it is, and a layer that `ecmvae train-audio` teaches the sounds of a data set.

    131 k parameters are trained. Entries of the embedding are at least 0. A few recordings of a class are enough for a
    layer, and far too few for a network.
    """

    dim = 128

    def __init__(self) -> None:
        super().__init__()
        self.network.requires_grad_(False).eval()
        # a mean that is hardly ever above 0 must not decide everything: eps is its least variance
        normalise = nn.BatchNorm1d(super().dim, eps=0.01)
        self.projection = nn.Sequential(
            normalise, nn.Dropout(0.5), nn.Linear(super().dim, self.dim), nn.ReLU()
        )

    def train(self, mode: bool = True) -> ProjectedYAMNet:
        """The network stays in eval mode."""
        super().train(mode)
        self.network.eval()
        return self

    def embed(self, means: Float[Tensor, "n 1024"]) -> Float[Tensor, "n a"]:
        """The trained layer."""
        projected: Tensor = self.projection(means)
        return projected
