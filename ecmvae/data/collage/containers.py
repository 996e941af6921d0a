"""Readers for two containers of pictures and sounds: Qt resources (``.rcc``) and OpenTTD sound sets (``.cat``).

Both read the whole file at once, check every offset, and refuse a damaged file with one clear line. Neither runs any
code from the file.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from ecmvae.errors import UserError

_RCC_ZLIB, _RCC_FOLDER, _RCC_ZSTD = 1, 2, 4
_MAX_DEPTH = 32
_MAX_UNPACKED = 256 * 2**20


class QtResources:
    """The files of a Qt binary resource, by path.

    Format: a header (``qres``, version, offsets of the tree, the payloads and the names), all big-endian; tree
    entries of 14 bytes, or 22 from version 2 with a modification time; payloads plain, zlib or zstandard.

    Raises:
        UserError: If the file is not a Qt resource or is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._bytes = _read(self.path)
        if self._bytes[:4] != b"qres":
            raise UserError(f"{self.path}: is not a Qt resource (it does not begin with 'qres')")
        version, self._tree, self._data, self._names = self._unpack(">IIII", 4)
        if not 1 <= version <= 3:
            raise UserError(
                f"{self.path}: Qt resource version {version} is unknown, only 1 to 3 are"
            )
        self._entry_size = 14 if version == 1 else 22
        self._entries = dict(self._walk(0, "", 0))

    def names(self) -> list[str]:
        """Paths of all files, sorted."""
        return sorted(self._entries)

    def read(self, name: str) -> bytes:
        """Content of the file `name`; a `UserError` if there is no such file or its payload is damaged."""
        if name not in self._entries:
            raise UserError(f"{self.path}: does not contain {name!r}")
        flags, offset = self._entries[name]
        start = self._data + offset
        (length,) = self._unpack(">I", start)
        payload = self._bytes[start + 4 : start + 4 + length]
        if len(payload) != length:
            raise UserError(f"{self.path}: {name} is cut short; fetch the file again")
        if flags & _RCC_ZSTD:
            return self._unzstd(name, payload)
        return self._unzip(name, payload) if flags & _RCC_ZLIB else payload

    def _walk(self, number: int, folder: str, depth: int) -> Iterator[tuple[str, tuple[int, int]]]:
        if depth > _MAX_DEPTH:
            raise UserError(f"{self.path}: damaged Qt resource, its folders are nested without end")
        start = self._tree + number * self._entry_size
        name_offset, flags = self._unpack(">IH", start)
        name = self._name(name_offset) if depth else ""
        path = f"{folder}/{name}" if folder else name
        if flags & _RCC_FOLDER:
            count, first = self._unpack(">II", start + 6)
            if count * self._entry_size > len(self._bytes):
                raise UserError(f"{self.path}: damaged Qt resource, {count} files do not fit in it")
            for child in range(first, first + count):
                yield from self._walk(child, path, depth + 1)
        else:
            yield path, (flags, self._unpack(">I", start + 10)[0])

    def _name(self, offset: int) -> str:
        start = self._names + offset
        (length,) = self._unpack(">H", start)
        return self._bytes[start + 6 : start + 6 + 2 * length].decode("utf-16-be", errors="replace")

    def _unpack(self, form: str, start: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(form, self._bytes, start)
        except struct.error as error:
            raise UserError(
                f"{self.path}: damaged Qt resource, it points outside itself; fetch it again"
            ) from error

    def _unzip(self, name: str, payload: bytes) -> bytes:
        """qCompress: the unpacked length in 4 bytes, then a zlib stream."""
        expander = zlib.decompressobj()
        try:
            unpacked = expander.decompress(payload[4:], _MAX_UNPACKED)
        except zlib.error as error:
            raise UserError(
                f"{self.path}: {name} is damaged ({error}); fetch the file again"
            ) from error
        if not expander.eof:
            raise UserError(
                f"{self.path}: {name} is cut short or larger than {_MAX_UNPACKED >> 20} MiB"
            )
        return unpacked

    def _unzstd(self, name: str, payload: bytes) -> bytes:
        try:
            import zstandard
        except ImportError as error:
            raise UserError(
                f"{self.path}: needs zstandard; install it with: pip install 'ecmvae[train]'"
            ) from error
        try:
            return zstandard.ZstdDecompressor().decompress(payload, max_output_size=_MAX_UNPACKED)
        except zstandard.ZstdError as error:
            raise UserError(
                f"{self.path}: {name} is damaged ({error}); fetch the file again"
            ) from error


def read_sound_set(path: str | Path) -> list[tuple[str, bytes]]:
    """Read all sounds of an OpenTTD ``.cat`` file, in order.

    Format: a little-endian table of (offset, length), whose first offset is also the length of the table; at each
    offset a name (length byte, characters), followed by a RIFF/WAVE file. Bit 31 of an offset marks the newer format.

    Returns:
        (name, content of the wav file) of every sound.

    Raises:
        UserError: If the file is damaged, or has the older format without names and headers.
    """
    path = Path(path)
    content = _read(path)
    if len(content) < 8:
        raise UserError(f"{path}: is not an OpenTTD sound set, it has only {len(content)} bytes")
    (first,) = struct.unpack_from("<I", content)
    table_size = first & 0x7FFFFFFF
    if not first >> 31:
        raise UserError(
            f"{path}: is not an OpenTTD sound set, or has the old format, which is not supported"
        )
    if table_size % 8 or table_size > len(content):
        raise UserError(
            f"{path}: damaged OpenTTD sound set, its table does not fit; fetch it again"
        )
    sounds = []
    for number, (offset, length) in enumerate(struct.iter_unpack("<II", content[:table_size])):
        start = offset & 0x7FFFFFFF
        name_length = content[start] if start < len(content) else 0
        riff = start + 1 + name_length
        wave = content[riff : riff + length]
        if wave[:4] != b"RIFF" or len(wave) != length:
            raise UserError(f"{path}: damaged OpenTTD sound set at sound {number}; fetch it again")
        sounds.append((content[start + 1 : riff].rstrip(b"\0").decode("latin-1"), wave))
    return sounds


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
