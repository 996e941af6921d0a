"""The configurations that come with ecmvae, by name: ``s4_pvt`` is ``configs/s4_pvt.yaml`` of the clone or wheel."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path

from ecmvae.errors import UserError
from ecmvae.files import show_path

LAYERS = "layers/"
"""What recipes are composed of; by themselves these files describe no run."""


@cache
def recipes() -> dict[str, Path]:
    """Recipe by its name below ``configs``, such as ``s4_pvt`` or ``ablations/no_kl``, in order."""
    package = Path(__file__).parent
    folders = (
        folder for folder in (package.parent / "configs", package / "configs") if _is_ours(folder)
    )
    folder = next(folders, None)
    if folder is None:
        return {}
    files = sorted(
        folder.rglob("*.yaml"), key=lambda path: (len(path.relative_to(folder).parts), path)
    )
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}


def find_config(path: str | Path) -> Path:
    """The file that a user means by a path or by the name of a recipe.

    Args:
        path: A file; where there is none, ``s4_pvt``, ``s4_pvt.yaml`` or ``configs/s4_pvt.yaml``, wherever the user is.

    Raises:
        UserError: If it is neither; names the nearest recipes.
    """
    path = Path(path)
    if path.exists() or path.is_symlink():
        return path
    name = path.as_posix().removeprefix("./").removeprefix("configs/").removesuffix(".yaml")
    if name in recipes():
        return recipes()[name]
    close = difflib.get_close_matches(name, recipes(), n=3, cutoff=0.6)
    hint = (
        f"did you mean {' or '.join(close)}?" if close else "ecmvae configs list shows the recipes"
    )
    raise UserError(f"file not found: {show_path(path)}, and no recipe has this name: {hint}")


def about(name: str) -> str:
    """The comment at the head of a recipe, in one line."""
    lines = recipes()[name].read_text(encoding="utf-8").splitlines()
    count = next(
        (number for number, line in enumerate(lines) if not line.startswith("#")), len(lines)
    )
    return " ".join(line.removeprefix("#").strip() for line in lines[:count])


def _is_ours(folder: Path) -> bool:
    return (folder / "collage_demo.yaml").is_file()
