"""`ecmvae convert`: its signature for the command line; the work is imported when it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ecmvae.errors import UserError
from ecmvae.files import refuse_unwritable, show_path


def convert(
    source: Path,
    backbone: Literal["resnet50", "pvt_v2_b5", "swin_b", "vggish"],
    out: Path,
    *,
    vggish: Path | None = None,
) -> None:
    """Turn a released weight file into a model folder.

    The file is a released checkpoint of ECMVAE (resnet50, pvt_v2_b5 or swin_b), one of AVSBench's TPAVI baseline
    (resnet50 or pvt_v2_b5), or vggish-10086976.pth. Released checkpoints do not contain the audio encoder, without
    which the model gets no sound: --vggish adds it to the folder. The backbones' own ImageNet files need no
    conversion: name them in model.visual.weights.

    Examples:
        ecmvae convert S4_best.pth resnet50 models/s4 --vggish vggish-10086976.pth
        ecmvae predict VIDEO.mp4 --checkpoint models/s4 --out OUT.mp4

    Args:
        source: The released file.
        backbone: The network of these weights.
        out: Folder to write.
        vggish: The file vggish-10086976.pth, to add to the same folder.

    Raises:
        UserError: For a file that does not fit, or a folder that is in use. Nothing is written then.
    """
    for path in (source, vggish):
        if path is not None and not path.is_file():
            raise UserError(f"file not found: {show_path(path)}")
    refuse_unwritable(out)
    from ecmvae.conversion import convert as run

    folder = run(source, backbone, out, vggish)
    use = "model.audio.weights" if backbone == "vggish" else "--checkpoint"
    print(f"{show_path(folder)}  (use it as {use})")
