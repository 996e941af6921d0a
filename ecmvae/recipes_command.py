"""`ecmvae configs list | show | copy`: the recipes that come with ecmvae."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml

from ecmvae.config_reader import read_layers
from ecmvae.errors import UserError
from ecmvae.files import refuse_unwritable, replacing, show_path
from ecmvae.recipes import LAYERS, about, find_config, recipes


def list_configs(all: bool = False) -> int:
    """List the recipes that `--config NAME` takes, and what each is for.

    Those below vae/ are for `ecmvae vae train`, all others for `ecmvae train`. Those below ablations/ and senses/
    change a few settings and are laid over another one.

    Examples:
        ecmvae configs list
        ecmvae train --config s4_pvt --config ablations/no_kl --data.root AVSBench/Single-source

    Args:
        all: Also list the layers that recipes are composed of.
    """
    names = [name for name in recipes() if all or not name.startswith(LAYERS)]
    if not names:
        raise UserError("the recipes are missing from this installation: install ecmvae again")
    width = max(map(len, names)) + 2
    for name in names:
        print(f"{name:{width}}{_first_sentence(about(name))}")
    return 0


def show_config(name: str) -> int:
    """Print every setting of a recipe and of its base files; all others have their defaults.

    Args:
        name: A recipe such as s4_pvt, or a YAML file.

    Raises:
        UserError: If there is no such recipe.
    """
    path = find_config(name)
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        print(line)
    print(yaml.safe_dump(read_layers(path), sort_keys=False, width=120), end="")
    return 0


def copy_config(name: str, out: str | None = None, force: bool = False) -> int:
    """Copy a recipe to change it; its base files are found from any folder.

    Examples:
        ecmvae configs copy s4_pvt --out mine.yaml

    Args:
        name: A recipe such as s4_pvt.
        out: File to write; by default its own name, in this folder.
        force: Replace an existing file.

    Raises:
        UserError: If there is no such recipe, or the file exists.
    """
    source = find_config(name)
    target = Path(out or source.name)
    if target.is_dir():
        target /= source.name
    if target.exists() and not force:
        raise UserError(
            f"{show_path(target)} exists: choose another --out, or replace it with --force"
        )
    refuse_unwritable(target)
    with replacing(target) as part:
        part.write_bytes(source.read_bytes())
    print(f"{show_path(target)}  (use it: --config {show_path(target)})")
    return 0


def _first_sentence(text: str) -> str:
    end = text.find(". ")
    return text if end < 0 else text[: end + 1]


CONFIG_COMMANDS: dict[str, Callable[..., int]] = {
    "list": list_configs,
    "show": show_config,
    "copy": copy_config,
}
"""Sub-command -> function."""
