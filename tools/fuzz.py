"""Fuzz ecmvae's own parsers with atheris, which changes inputs so that they reach new branches of the code.

`python tools/fuzz.py yaml --runs 100000` ends with exit code 0 when every input was parsed or refused by a `UserError`.
An input that fails in another way is written to the folder of `--keep`, and its traceback is printed.
`python tools/fuzz.py yaml --repeat FILE` parses it again. It needs `pip install 'ecmvae[fuzz]'`.

Parsers: yaml, json, rle, rcc, cat, csv.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import struct
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

try:
    import atheris
except ImportError:
    atheris = None  # the harnesses work without it

with (
    atheris.instrument_imports(include=["ecmvae", "yaml", "json", "csv"])
    if atheris
    else contextlib.nullcontext()
):
    import yaml  # noqa: F401  # instrumented before ecmvae imports it

    from ecmvae.data import layout, rle
    from ecmvae.data.collage import containers
    from ecmvae.errors import UserError
    from ecmvae.foreign_text import MAX_DEPTH, parse_json, parse_yaml

_SIZE = (5, 7)  # of the masks, in pixels


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


def fuzz_yaml(data: bytes) -> None:
    """What is read can be written as JSON or holds dates and sets, and is not deep."""
    assert _depth(parse_yaml(_text(data), "it")) <= MAX_DEPTH


def fuzz_json(data: bytes) -> None:
    """What is read is not deep, and is the same when it is written and read again."""
    value = parse_json(_text(data), "it")
    assert _depth(value) <= MAX_DEPTH
    again = json.dumps(value)
    assert json.dumps(parse_json(again, "it")) == again


def fuzz_rle(data: bytes) -> None:
    """A mask that is read is the same when it is written and read again."""
    counts: Any = _text(data)
    if data[:1] == b"[":
        counts = parse_json(counts, "it")
    mask = rle.decode({"size": list(_SIZE), "counts": counts}, _SIZE, "it")
    again = rle.decode(
        {"size": list(_SIZE), "counts": rle.compress(rle.run_lengths(mask))}, _SIZE, "it"
    )
    assert mask.shape == _SIZE
    assert (mask == again).all()


def fuzz_rcc(data: bytes) -> None:
    """Every file in a container can be read or is refused."""
    containers._read = lambda path: data  # type: ignore[assignment]
    resources = containers.QtResources("it.rcc")
    for name in resources.names()[:20]:
        with contextlib.suppress(UserError):
            resources.read(name)


def fuzz_cat(data: bytes) -> None:
    """All sounds are files of their own."""
    containers._read = lambda path: data  # type: ignore[assignment]
    assert all(wave[:4] == b"RIFF" for _, wave in containers.read_sound_set("it.cat"))


def fuzz_csv(data: bytes) -> None:
    """Every value may be a part of a path."""
    layout.read_text = lambda path, *_: data.decode("utf-8-sig")
    with contextlib.suppress(UnicodeDecodeError):  # refused by the true read_text
        for row in layout.read_table(Path("it.csv"), ["name", "split"]):
            assert all(Path("here", value).parent == Path("here") for value in row.values())


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        depth += 1
        inner = [each for each in level if isinstance(each, dict | list | tuple | set)]
        level = [
            each
            for outer in inner
            for each in (*outer, *(outer.values() if isinstance(outer, dict) else ()))
        ]
    return depth


def _resources() -> bytes:
    """A Qt resource of one folder and one file."""
    tree = struct.pack(">IHII", 0, 2, 1, 1) + struct.pack(">IHHHI", 0, 0, 0, 0, 0)
    names, data = struct.pack(">HI", 1, 0) + "a".encode("utf-16-be"), struct.pack(">I", 3) + b"abc"
    start = 20
    header = struct.pack(">IIII", 1, start, start + len(tree), start + len(tree) + len(data))
    return b"qres" + header + tree + data + names


PARSERS: Mapping[str, tuple[Callable[[bytes], None], tuple[bytes, ...]]] = {
    "yaml": (
        fuzz_yaml,
        (
            b"train: {epochs: 3, name: [a, 'b']}\nx: !!set {a}\n",
            b"- 2001-12-14\n- 0x1F\n- 1:30.5\n- &a x\n- *a\n",
        ),
    ),
    "json": (fuzz_json, (b'{"class_names": ["cat"], "n": [1, -2.5e3, null, true, "\\u00e9"]}',)),
    "rle": (fuzz_rle, (rle.compress([3, 5, 6, 10, 11]).encode(), b"[3, 5, 6, 10, 11]")),
    "rcc": (fuzz_rcc, (_resources(),)),
    "cat": (fuzz_cat, (struct.pack("<II", 8 | 1 << 31, 12) + b"\x03ab\0RIFF\4\0\0\0WAVE",)),
    "csv": (fuzz_csv, (b'name,split\nabc,train\n"a,""b",val\n',)),
}
"""Parser -> its harness, and sound inputs to start from."""


def refused_or_parsed(parser: str, data: bytes) -> bool:
    """Whether the input is parsed; any error but a `UserError` passes through."""
    try:
        PARSERS[parser][0](data)
    except UserError:
        return False
    return True


def main(words: Sequence[str] | None = None) -> int:
    """Fuzz a parser; atheris ends the process when it is done."""
    description = argparse.RawDescriptionHelpFormatter
    options = argparse.ArgumentParser(description=__doc__, formatter_class=description)
    options.add_argument("parser", choices=[*PARSERS])
    options.add_argument("--runs", type=int, default=100_000)
    options.add_argument("--seconds", type=int, default=60, help="the longest time")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument(
        "--keep",
        default="fuzz-",
        help="where an input that fails is written: a folder, or a prefix",
    )
    options.add_argument("--repeat", type=Path, help="parse this file only")
    chosen = options.parse_args(words)
    if chosen.repeat is not None:
        print(
            "parsed" if refused_or_parsed(chosen.parser, chosen.repeat.read_bytes()) else "refused"
        )
        return 0
    if atheris is None:
        print("this needs atheris: pip install 'ecmvae[fuzz]'", file=sys.stderr)
        return 2
    corpus = tempfile.mkdtemp(prefix="ecmvae-fuzz-")
    for number, data in enumerate(PARSERS[chosen.parser][1]):
        (Path(corpus) / str(number)).write_bytes(data)
    limits = (
        f"-runs={chosen.runs}",
        f"-max_total_time={chosen.seconds}",
        "-timeout=20",
        "-rss_limit_mb=2048",
    )
    atheris.Setup(
        [
            sys.argv[0],
            corpus,
            *limits,
            f"-seed={chosen.seed}",
            f"-artifact_prefix={chosen.keep}",
            "-max_len=4096",
        ],
        lambda data: refused_or_parsed(chosen.parser, data) and None,
    )
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
