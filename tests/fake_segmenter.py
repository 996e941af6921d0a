"""A `Segmenter` whose answers a test states: no backbone and no weights of its own."""

import torch
from prepared import VGGISH
from torch import nn

from ecmvae.models.base import Segmenter


class FakeSegmenter(Segmenter):
    """Subclasses say how they hear and what they answer."""

    front_end = VGGISH.front_end
    normalisation = VGGISH.normalisation

    def __init__(self, num_classes=1):
        nn.Module.__init__(self)
        self.weight = nn.Parameter(torch.zeros(()))  # it tells the device
        self.num_classes = num_classes
        self._frozen = []

    def extract_features(self, frames):
        return (frames,)

    @classmethod
    def from_config(cls, *args, **kwargs):
        raise NotImplementedError
