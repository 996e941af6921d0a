"""Writers of small Qt resources and OpenTTD sound sets, from their formats' descriptions."""

import struct
import zlib

import zstandard

ZLIB, ZSTD = 1, 4


def qt_resources(files, version=1, flags=None):
    """Bytes of a Qt resource.

    Args:
        files: Content by path.
        version: Of the format, 1 to 3.
        flags: `ZLIB` or `ZSTD` by path; plain where nothing is said.
    """
    flags = flags or {}
    nodes = [{"name": "", "children": {}}]
    for path, content in files.items():
        here = nodes[0]
        for part in path.split("/"):
            here = here["children"].setdefault(part, {"name": part, "children": {}})
        here["content"], here["flag"] = content, flags.get(path, 0)
    order, place = [nodes[0]], 0
    while place < len(order):
        order[place]["first"] = len(order)
        order.extend(order[place]["children"].values())
        place += 1
    tree, names, data = b"", b"", b""
    time = bytes(8) if version > 1 else b""
    for node in order:
        if "content" in node:
            tree += struct.pack(">IHHHI", len(names), node["flag"], 0, 0, len(data)) + time
            payload = _packed(node["content"], node["flag"])
            data += struct.pack(">I", len(payload)) + payload
        else:
            tree += struct.pack(">IHII", len(names), 2, len(node["children"]), node["first"]) + time
        names += struct.pack(">HI", len(node["name"]), 0) + node["name"].encode("utf-16-be")
    start = 20 + (4 if version > 2 else 0)
    header = struct.pack(">IIII", version, start, start + len(tree), start + len(tree) + len(data))
    return b"qres" + header + bytes(start - 20) + tree + data + names


def _packed(content, flag):
    if flag == ZLIB:
        return struct.pack(">I", len(content)) + zlib.compress(content)
    return zstandard.ZstdCompressor().compress(content) if flag == ZSTD else content


def sound_set(sounds, mark=1 << 31):
    """Bytes of a sound set with (name, content) each; `mark` is what tells the newer format."""
    table, body = b"", b""
    for name, wave in sounds:
        table += struct.pack("<II", (8 * len(sounds) + len(body)) | mark, len(wave))
        body += bytes([len(name) + 1]) + name.encode() + b"\0" + wave
    return table + body
