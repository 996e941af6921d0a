"""The former home of `load_model` and its companions, kept for one release."""

from __future__ import annotations

from ecmvae.hub.find import find_model_folder, weights_sha256
from ecmvae.models.checkpoint import initial_model, load_model, save_model

__all__ = ["find_model_folder", "initial_model", "load_model", "save_model", "weights_sha256"]
