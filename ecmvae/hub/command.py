"""`ecmvae models`: the models that can be asked for by name."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from ecmvae.foreign_text import printable
from ecmvae.hub.client import cache_folder, is_offline
from ecmvae.hub.find import find_model_folder, read_card
from ecmvae.hub.named_models import named_models


def models(card: str | None = None) -> None:
    """List the models that `--checkpoint NAME` takes, or show one's card.

    Nothing is fetched for the list: a model of the hub is downloaded when it is first used, or its card asked for.

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
    console = Console()
    console.print(table)
    console.print(f"Hub cache: {cache_folder()}{' (offline)' if is_offline() else ''}", soft_wrap=True)
    console.print("Use: ecmvae predict VIDEO --checkpoint NAME; its card: ecmvae models --card NAME", soft_wrap=True)
