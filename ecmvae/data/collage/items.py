"""Items of a prepared folder of AVS-Collage: what each is and where it comes from, their index, and a sound's level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32

from ecmvae.files import write_json

INDEX_FILE = "sources.json"
FORMAT = 3
"""Version of the prepared folder; a folder of another version is not used."""

ItemKind = Literal["image", "sound", "other", "background", "photograph"]


@dataclass(frozen=True, kw_only=True)
class SourceItem:
    """One cut-out, recording, other sound, background or photograph.

    Attributes:
        id: Unique among the items of its kind, such as ``tuxpaint_dog``.
        kind: image (a cut-out), sound (a recording of a class), other (a sound of none of the classes), background, or
            photograph (a whole picture of a class, for tests only).
        category: Class of the picture or recording, sort of the other sound (speech, rain, ...); "" for a
            background, and for a cut-out that never sounds.
        pool: known or held_out; for a background the split it belongs to: train, val or test; test for a photograph.
        package: Package it comes from.
        path: Path inside the package.
        file: Path inside the prepared folder.
        licence: As stated by the package.
        author: As stated by the package.
        sha256: Of the original file.
    """

    id: str
    kind: ItemKind
    category: str
    pool: str
    package: str
    path: str
    file: str
    licence: str
    author: str
    sha256: str


def write_index(root: Path, items: Sequence[SourceItem], **facts: object) -> None:
    """Write ``sources.json``, which makes `root` a folder of sources; `facts` are stored with the items."""
    write_json(
        root / INDEX_FILE, {"format": FORMAT, **facts, "items": [asdict(item) for item in items]}
    )


def active_level(samples: Float32[np.ndarray, " s"], block: int = 160) -> float:
    """Root mean square over the blocks of 10 ms that are not silence (above 5 % of the loudest block's level)."""
    levels = block_levels(samples, block)
    if not levels.any():
        return 0.0
    active = levels[levels > 0.05 * levels.max()]
    return float(np.sqrt(np.mean(np.square(active))))


def block_levels(samples: Float32[np.ndarray, " s"], block: int = 160) -> np.ndarray:
    """Root mean square of each whole block, or of all samples if they are shorter than one block."""
    if samples.size == 0:
        return np.zeros(0)
    whole = samples.size // block * block
    blocks = samples[:whole].reshape(-1, block) if whole else samples.reshape(1, -1)
    levels: np.ndarray = np.sqrt(np.mean(np.square(blocks.astype(np.float64)), axis=1))
    return levels
