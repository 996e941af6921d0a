"""`ecmvae vae faces`: its signature for the command line; the work is imported when it starts."""

from __future__ import annotations

from pathlib import Path

from ecmvae.errors import check_range
from ecmvae.files import refuse_unwritable, show_path


def faces(out: str, count: int = 1000, size: int = 64, seed: int = 0) -> int:
    """Draw faces with known attributes, in CelebA's folder layout.

    Every face is drawn from factors (skin, hair and its colour, top and its colour, glasses, eyes, smile, open mouth,
    pose, hat, moustache) that are written beside the pictures. Place, size, light and background vary, too.

    Examples:
        ecmvae vae faces data/faces --count 10000
        ecmvae vae train --config configs/vae/faces.yaml --data folder:data/faces --out runs/faces

    Args:
        out: New folder to write.
        count: How many faces.
        size: Height and width in pixels.
        seed: Of all draws. Face k of a seed is the same for every count.
    """
    check_range("count", count, 1, 999_999)
    check_range("size", size, 8, 2048)
    check_range("seed", seed, 0, 2**32 - 1)
    refuse_unwritable(Path(out) / "attributes.csv")
    from rich.console import Console
    from rich.progress import track

    from ecmvae.data.faces.folder import write_faces

    bar = iter(track(range(count), "drawing", console=Console(stderr=True)))
    write_faces(Path(out), count, size=size, seed=seed, advance=lambda _: next(bar, None))
    print(show_path(Path(out)))
    return 0
