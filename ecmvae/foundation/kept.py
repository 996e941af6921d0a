"""What foundation models made of pictures and sounds, kept on disk: asked again with other words, they need not run.

Of a picture CLIPSeg's tokens are kept (0.2 MB at 352 pixels), or the masks that were found in boxes for certain words
(0.13 MB each); of a sound the tagger's scores or embedding (some kB). The folder has a limit; what was used longest
ago is removed first.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ecmvae.files import replace_bytes

LIMIT = 2_000_000_000
"""Bytes of the folder."""
_KEY, _PRUNE_EVERY = "answer", 256


def default_folder() -> Path:
    """Where answers are kept unless told otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ecmvae" / "senses"


class KeptAnswers:
    """Rows of a function's results, by the bytes of its inputs' rows.

    Args:
        folder: Where they are kept; None = nowhere.
        limit: Bytes that the folder may have.
    """

    def __init__(self, folder: Path | None, limit: int = LIMIT) -> None:
        self._folder, self._limit, self._written = folder, limit, 0

    def __call__(
        self, name: str, function: Callable[[Tensor], Tensor], rows: Float[Tensor, "n *f"]
    ) -> Float[Tensor, "n *g"]:
        """`function(rows)`, computed for the rows alone that are not there; float16 precision.

        Args:
            name: Of the function and its weights, as `identity` gives it; "" keeps nothing.
            function: Rows (n, ...) -> results (n, ...), each of its own row.
            rows: (n, ...).
        """
        if self._folder is None or not name:
            return function(rows)
        # In 32 bits first: autocast on a CPU cannot stack float16.
        return torch.stack([answer.float() for answer in self._answers(name, function, rows)]).to(
            rows.device
        )

    def each(
        self, name: str, function: Callable[[Tensor], Iterable[Tensor]], rows: Float[Tensor, "n *f"]
    ) -> list[Tensor]:
        """The same for results of a size each: `function` returns one for each row."""
        if self._folder is None or not name:
            return list(function(rows))
        return [
            answer.to(rows.device, torch.float32) for answer in self._answers(name, function, rows)
        ]

    def _answers(
        self, name: str, function: Callable[[Tensor], Iterable[Tensor]], rows: Tensor
    ) -> list[Tensor]:
        """Of each row, in float16 on the CPU."""
        keys = [_digest(name, row) for row in rows.cpu().contiguous()]
        found = {key: kept for key in dict.fromkeys(keys) if (kept := self._read(key)) is not None}
        if new := [number for number, key in enumerate(keys) if key not in found]:
            results = function(rows[new])
            if isinstance(results, Tensor):
                results = results.half().cpu()  # at once
            for number, row in zip(new, results, strict=True):
                found[keys[number]] = row.half().cpu().contiguous()
                self._write(keys[number], found[keys[number]])
        return [found[key] for key in keys]

    def _read(self, key: str) -> Tensor | None:
        path = self._path(key)
        try:
            kept: Tensor = load_file(path)[_KEY]
            os.utime(path)  # used now
        except (OSError, SafetensorError, KeyError):  # missing or damaged: it is computed again
            return None
        return kept

    def _write(self, key: str, row: Tensor) -> None:
        replace_bytes(self._path(key), save({_KEY: row}))
        self._written += 1
        if self._written % _PRUNE_EVERY == 1:
            self._prune()

    def _prune(self) -> None:
        """Remove what was used longest ago, until a tenth of the limit is free."""
        assert self._folder is not None
        files = [(status.st_mtime, status.st_size, path) for path, status in _files(self._folder)]
        total = sum(size for _, size, _ in files)
        if total <= self._limit:
            return
        for _, size, path in sorted(files, key=lambda each: each[0]):
            path.unlink(missing_ok=True)
            total -= size
            if total <= 0.9 * self._limit:
                return

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / key[:2] / f"{key}.safetensors"


def identity(network: str, folder: Path | None) -> str:
    """A network and its weights: they are other ones when a file has another size or time. "" for random weights."""
    if folder is None:
        return ""
    files = [(path.name, path.stat()) for path in sorted(folder.glob("*.safetensors"))]
    states = [(name, status.st_size, status.st_mtime_ns) for name, status in files]
    return f"{network} {folder.resolve()} {states}"


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    found = []
    for path in folder.rglob("*.safetensors"):
        try:
            found.append((path, path.stat()))
        except FileNotFoundError:  # another process has removed it
            continue
    return found


def _digest(name: str, row: Tensor) -> str:
    digest = hashlib.blake2b(f"{name} {row.dtype} {tuple(row.shape)}".encode(), digest_size=16)
    digest.update(row.numpy().data)
    return digest.hexdigest()
