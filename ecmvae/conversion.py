"""Released weight files as model folders: the work of `ecmvae convert`."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file

from ecmvae.audio.vggish import VGGish
from ecmvae.config import Config
from ecmvae.errors import UserError
from ecmvae.files import replacing, show_path
from ecmvae.hub.client import sha256_of
from ecmvae.hub.named_models import WEIGHTS_FILE
from ecmvae.models import ECMVAE, Segmenter, build_model
from ecmvae.models.checkpoint import save_model
from ecmvae.released_checkpoints import (
    has_posterior,
    load_released_state_dict,
    load_released_vggish,
    released_tensors,
)


def convert(source: Path, backbone: str, out: Path, vggish: Path | None = None) -> Path:
    """Write the model folder of a released file.

    Args:
        source: The file.
        backbone: "resnet50", "pvt_v2_b5", "swin_b", or "vggish".
        out: Folder to make; it must not hold anything yet.
        vggish: The audio encoder's file, to go into the same folder.

    Returns:
        The folder.

    Raises:
        UserError: For a file that does not fit, or a folder that is in use. Nothing is written then.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"{show_path(out)} exists already: choose another --out, or remove it")
    if backbone == "vggish":
        with replacing(out) as folder:
            folder.mkdir()
            save_file(load_released_vggish(source).state_dict(), folder / WEIGHTS_FILE)
        return out
    model: Segmenter = load_released_state_dict(source, backbone)
    if vggish is not None:
        model = with_audio_encoder(model, load_released_vggish(vggish))
    origin: dict[str, str | bool] = {"source": source.name, "source_sha256": sha256_of(source)}
    if isinstance(model, ECMVAE):
        origin["posterior"] = has_posterior(released_tensors(source))
    return save_model(model, out, _config_of(model), origin)


def with_audio_encoder(model: Segmenter, vggish: VGGish) -> Segmenter:
    """The same model, with that audio encoder."""
    hearing = build_model(
        _config_of(model).model, image_size=model.image_size, with_audio_encoder=True
    )
    heard = {f"audio_encoder.{name}": tensor for name, tensor in vggish.state_dict().items()}
    hearing.load_state_dict({**model.state_dict(), **heard})
    hearing.config = model.config
    return hearing


def _config_of(model: Segmenter) -> Config:
    assert model.config is not None  # released models are built from one
    return model.config
