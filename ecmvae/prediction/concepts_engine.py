"""A model without training as an engine of prediction: its answers have names, and an activity for each name."""

from __future__ import annotations

import copy

import numpy as np
import torch
from jaxtyping import Float

from ecmvae.models.concepts import Concepts
from ecmvae.prediction.named_maps import FoundThings, NamedMaps
from ecmvae.prediction.torch_engine import TorchEngine, check_model


class ConceptsEngine(TorchEngine):
    """`Concepts` behind the interface of `ecmvae.prediction.engine.NamingEngine`.

    Args:
        model: It is moved to the device and put in eval mode.
        device: See `ecmvae.device.choose_device`.
        half: 16 bits inside the networks.
    """

    def __init__(self, model: Concepts, device: str = "auto", *, half: bool = False) -> None:
        super().__init__(check_model(model), device, half=half)
        self._concepts = model

    def with_concepts(self, concepts: str | None) -> ConceptsEngine:
        """The same networks with other concepts."""
        other = copy.copy(self)
        other._concepts = self._concepts.with_concepts(concepts).to(self.device)
        other.model = other._run = check_model(other._concepts)
        other.class_names = other._concepts.class_names
        return other

    @torch.inference_mode()
    def name_masks(
        self, frames: Float[np.ndarray, "b t 3 s s"], features: Float[np.ndarray, "b t *f"]
    ) -> NamedMaps:
        """Probability, class, activity and things, see `ecmvae.models.concepts.NamedMasks`."""
        dtype = torch.bfloat16 if self.device.type == "cpu" else torch.float16
        with torch.autocast(self.device.type, dtype, enabled=self._half):
            audio = self._concepts.encode_audio(torch.from_numpy(features).to(self.device))
            found = self._concepts.name_masks(torch.from_numpy(frames).to(self.device), audio)
        things = None
        if found.things is not None:
            things = [
                FoundThings(_array(each.masks), _array(each.classes), _array(each.numbers))
                for each in found.things
            ]
        return NamedMaps(
            _array(found.probability.float()),
            _array(found.classes),
            _array(found.activity.float()),
            things,
        )


def _array(tensor: torch.Tensor) -> np.ndarray:
    found: np.ndarray = tensor.cpu().numpy()
    return found
