"""`ecmvae models` and `ecmvae fetch`: list the models that have names, and download foundation models."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape
from rich.table import Table

from ecmvae.console import output_console
from ecmvae.errors import UserError
from ecmvae.foreign_text import printable
from ecmvae.hub.catalogue import CATALOGUE, FILES, check_folder, find_model
from ecmvae.hub.client import HubAddress, cache_folder, fetch, is_offline
from ecmvae.hub.find import find_model_folder, read_card
from ecmvae.hub.named_models import named_models


def models(card: str | None = None) -> None:
    """List the models that `--checkpoint NAME` takes and the foundation models, or show a model's card.

    The list itself needs no network. A model of the hub is downloaded when it or its card is first used, a foundation
    model by `ecmvae fetch NAME`.

    Examples:
        ecmvae models
        ecmvae models --card collage-small

    Args:
        card: Name (or folder, or hf://owner/name) of a model: print its README.md.

    Raises:
        UserError: If there is no such model, or it has no card.
    """
    if card is not None:
        print(printable(read_card(find_model_folder(card))))
        return
    table = Table()
    for heading in ("name", "MB", "licence", "where", "what"):
        table.add_column(heading, no_wrap=heading == "name")
    for model in named_models().values():
        where, _ = model.state()
        table.add_row(model.name, f"{model.size / 1e6:.1f}", model.licence, where, model.summary)
    console = output_console()
    console.print(table)
    title = escape("Foundation models (pip install 'ecmvae[foundation]'; ecmvae fetch NAME)")
    foundation = Table(title=title)
    for heading in ("name", "M parameters", "licence", "where", "what for"):
        foundation.add_column(heading, no_wrap=heading == "name")
    for each in CATALOGUE.values():
        size = "" if each.parameters is None else f"{each.parameters:.1f}"
        licence = each.licence + (" (gated)" if each.gated else "")
        purpose = each.purpose + (f" ({each.reserve})" if each.reserve else "")
        foundation.add_row(
            each.name, size, licence, "cached" if each.cached() else "not fetched", purpose
        )
    console.print(foundation)
    console.print(
        f"Hub cache: {cache_folder()}{' (offline)' if is_offline() else ''}", soft_wrap=True
    )
    console.print(
        "Use: ecmvae predict VIDEO --checkpoint NAME; its card: ecmvae models --card NAME",
        soft_wrap=True,
    )


def fetch_model(name: str, *, accept_licence: str | None = None, newest: bool = False) -> None:
    """Download a foundation model into the hub's cache, check it, and print its commit.

    Complete files are not downloaded again, and interrupted downloads are resumed. A model that is complete in the
    cache needs no network.

    Examples:
        ecmvae fetch clipseg
        ecmvae fetch dinov3-vits16 --accept_licence dinov3-vits16
        ecmvae fetch hf://owner/name@commit

    Args:
        name: Name of a foundation model (see ecmvae models), or hf://owner/name[@revision].
        accept_licence: The model's name again, to confirm that you have read and accept its licence, which is not a
            permissive one.
        newest: Look for a newer commit on the hub even if a complete one is in the cache.

    Raises:
        UserError: If there is no such model, its licence is not accepted, the hub cannot be reached or refuses, or a
            file is damaged.
    """
    address = HubAddress.parse(name)
    if address is None:
        model = find_model(name)
        if not model.permissive and accept_licence != name:
            raise UserError(
                f"{name} is under {model.licence}{f' ({model.reserve})' if model.reserve else ''}: read it "
                f"({_page(model.repository)}), then pass --accept_licence {name}"
            )
        address = model.address
    elif accept_licence is not None:
        raise UserError(
            f"--accept_licence has no effect on {address}, whose licence ecmvae does not know"
        )
    folder = None if newest else _complete(address, name)
    if folder is None:
        folder = fetch(address, FILES)
        check_folder(folder, name)
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    print(f"{name}: {size:.1f} MB, commit {folder.name}, in {folder}")
    if address.revision != folder.name:
        print(f"to name exactly these weights: hf://{address.repository}@{folder.name}")


def _complete(address: HubAddress, name: str) -> Path | None:
    """The folder of the cache, if the model is there as a whole and undamaged."""
    try:
        folder = fetch(address, FILES, local_only=True)
        check_folder(folder, name)
    except UserError:
        if is_offline():
            raise
        return None
    return folder


def _page(repository: str | None) -> str:
    return "its authors' page" if repository is None else f"https://huggingface.co/{repository}"
