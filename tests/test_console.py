"""Tables have whole lines in a pipe, and the terminal's width on a terminal."""

import os
import pty
import subprocess
import sys

import pytest
from rich.table import Table

from ecmvae.console import output_console

SENTENCE = " ".join(f"word{number}" for number in range(60))

PRINT_TABLE = f"""
from rich.table import Table
from ecmvae.console import output_console
table = Table("name", "what")
table.add_row("mine", {SENTENCE!r})
output_console().print(table)
"""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.delenv("COLUMNS", raising=False)
    return dict(os.environ)


def test_a_pipe_gets_whole_lines(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRINT_TABLE],
        capture_output=True,
        text=True,
        check=True,
        env={**environment, "PYTHONIOENCODING": "utf-8"},
    )
    (line,) = [line for line in done.stdout.splitlines() if "mine" in line]
    assert SENTENCE in line


def test_a_terminal_keeps_its_width(environment: dict[str, str]) -> None:
    outer, inner = pty.openpty()
    os.set_blocking(outer, False)
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, fcntl, struct, termios; "
            "fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 40, 60, 0, 0))\n" + PRINT_TABLE,
        ],
        stdout=inner,
        stdin=inner,
        check=True,
        env={**environment, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"},
    )
    shown = os.read(outer, 100_000).decode()
    os.close(inner)
    os.close(outer)
    assert SENTENCE.split()[-1] in shown
    assert SENTENCE not in shown
    rows = [line for line in shown.splitlines() if "word" in line]
    assert len(rows) > 5
    assert {len(line.rstrip("\r")) for line in rows} == {60}


def test_columns_decides_where_it_is_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    table = Table("name", "what")
    table.add_row("mine", SENTENCE)
    output_console().print(table)
    assert {len(line) for line in capsys.readouterr().out.splitlines()} == {70}
