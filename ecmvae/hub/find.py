"""Find a model folder by its path, by a name of `ecmvae models`, on the Hugging Face hub, or the default one."""

from __future__ import annotations

from pathlib import Path

from ecmvae.errors import UserError
from ecmvae.foreign_text import read_text
from ecmvae.hub.client import HubAddress, cache_folder, fetch, looks_like_repository, sha256_of
from ecmvae.hub.named_models import (
    CARD_FILE,
    CONFIG_FILE,
    MODEL_FILES,
    WEIGHTS_FILE,
    did_you_mean,
    named_models,
)


def find_model_folder(
    path: str | Path, *, local_only: bool = False, token: str | bool | None = None
) -> Path:
    """Find the folder of a model.

    An existing path takes precedence over a name, and only ``hf://`` or a name that stands for it is downloaded.

    Args:
        path: The folder, a run folder that holds it as ``best``, a name of `ecmvae models`, or
            ``hf://owner/name[@revision]`` on the hub.
        local_only: Download nothing; a model of the hub must be in the cache.
        token: For a private repository on the hub.

    Raises:
        UserError: If there is no such model (with the nearest existing name), or the folder is incomplete.
    """
    requested, folder = str(path), Path(path)
    if address := HubAddress.parse(requested):
        folder = fetch(address, MODEL_FILES, local_only=local_only, token=token)
    elif not folder.exists():
        named = named_models().get(requested)
        if named is None:
            raise UserError(f"checkpoint not found: {_nearby(folder)}")
        return named.folder(local_only=local_only)
    for candidate in (folder, folder / "best"):
        if (candidate / CONFIG_FILE).is_file() and (candidate / WEIGHTS_FILE).is_file():
            return candidate
    raise UserError(
        f"{requested} is not a model folder: it needs {CONFIG_FILE} and {WEIGHTS_FILE} (ecmvae train writes both to "
        "RUN/best)"
    )


def default_model(packaged: Path | None = None, runs: Path = Path("runs")) -> Path:
    """The folder of the model that `ecmvae predict` uses when no model is named.

    Args:
        packaged: Folder with the list of named models, whose first packaged one wins; None = the one of the wheel.
        runs: Folder in which `make demo` leaves its runs (`demo`, older ones moved aside); the newest wins.

    Raises:
        UserError: If there is neither, or the packaged one is damaged.
    """
    for model in named_models(packaged).values():
        if model.packaged and (model.home / model.name / CONFIG_FILE).is_file():
            return model.folder()
    for folder in sorted(
        runs.glob("demo*"), key=lambda folder: folder.stat().st_mtime, reverse=True
    ):
        try:
            return find_model_folder(folder)
        except UserError:
            continue  # a folder without a model, such as a run that was interrupted
    raise UserError(
        "no model is named, none is packaged and there is no demo run: run make demo, or name one"
    )


def read_card(folder: Path) -> str:
    """The text of a model folder's README.md.

    Args:
        folder: As `find_model_folder` returns it.

    Raises:
        UserError: If there is none, it is not text, or it is a link to a file outside the folder (links into the cache
            of the hub, which consists of them, are followed).
    """
    path = folder / CARD_FILE
    if not path.is_file():
        raise UserError(f"{folder} has no card: there is no {path}")
    target = path.resolve()
    if not any(target.is_relative_to(home.resolve()) for home in (folder, cache_folder())):
        raise UserError(
            f"{path} is a link that leaves the model folder: open it yourself if you trust it"
        )
    return read_text(path)


def weights_sha256(path: str | Path) -> str:
    """SHA-256 of a model folder's weights, as hexadecimal digits."""
    return sha256_of(find_model_folder(path) / WEIGHTS_FILE)


def _nearby(missing: Path) -> str:
    """The path that does not exist, and what may have been meant."""
    siblings = missing.parent.iterdir() if missing.parent.is_dir() else ()
    prefix = "" if missing.parent == Path() else f"{missing.parent}/"
    hint = did_you_mean(
        str(missing), tuple(f"{prefix}{each.name}" for each in siblings if each.is_dir())
    )
    if looks_like_repository(str(missing)) and "did you mean" not in hint:
        hint += f"; a repository of the hub is written hf://{missing}"
    return f"{missing}{hint}"
