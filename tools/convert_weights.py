"""Turn a released weight file into a model folder: convert_weights.py SOURCE --backbone NAME --out DIR.

SOURCE is a released checkpoint of ECMVAE (--backbone resnet50, pvt_v2_b5 or swin_b), one of AVSBench's TPAVI baseline
(resnet50 or pvt_v2_b5), or vggish-10086976.pth (--backbone vggish). The released checkpoints do not contain the audio
encoder: --vggish FILE puts it into the folder, without it the model cannot hear. The backbones' own ImageNet files need
no conversion: name them in model.visual.weights.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from safetensors.torch import save_file

from ecmvae.audio.vggish import VGGish
from ecmvae.errors import UserError
from ecmvae.files import replacing
from ecmvae.hub.client import sha256_of
from ecmvae.hub.named_models import WEIGHTS_FILE
from ecmvae.models import ECMVAE, Segmenter, build_model
from ecmvae.models.checkpoint import save_model
from ecmvae.released_checkpoints import (
    BACKBONES,
    has_posterior,
    load_released_loss,
    load_released_state_dict,
    load_released_vggish,
    released_tensors,
)

__all__ = ["convert", "load_released_loss", "load_released_state_dict", "load_released_vggish"]


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
        raise UserError(f"{out} exists already: choose another --out, or remove it")
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
    return save_model(model, out, model.config, origin)


def with_audio_encoder(model: Segmenter, vggish: VGGish) -> Segmenter:
    """The same model, with that audio encoder."""
    hearing = build_model(model.config.model, image_size=model.image_size, with_audio_encoder=True)
    heard = {f"audio_encoder.{name}": tensor for name, tensor in vggish.state_dict().items()}
    hearing.load_state_dict({**model.state_dict(), **heard})
    hearing.config = model.config
    return hearing


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 2 means a mistake that the user can correct."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the released file")
    parser.add_argument("--backbone", required=True, choices=[*BACKBONES, "vggish"], help="whose weights these are")
    parser.add_argument("--vggish", type=Path, help="vggish-10086976.pth, to go into the model folder")
    parser.add_argument("--out", required=True, type=Path, help="folder to make")
    options = parser.parse_args(arguments)
    try:
        folder = convert(options.source, options.backbone, options.out, options.vggish)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {folder}: use it as {'model.audio.weights' if options.backbone == 'vggish' else '--checkpoint'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
