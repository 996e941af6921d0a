"""What a campaign is: numbered attacks, each of which can be repeated alone, and figures over all of them."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

PYTHON = sys.executable
PROMISED = (0, 2, 130, 143)
"""Exit codes of a command that attacks may cause; 1 is kept for what the user cannot mend."""


@dataclass(frozen=True)
class Trial:
    """One attack and how it went.

    Attributes:
        kind: What was attacked, for the counts by kind: ``cut container``, ``SIGKILL`` ...
        lost: Why it counts as lost; empty if ecmvae survived.
        detail: What was done, so that a person can read what a loss was about.
        megabytes: Peak resident memory of the process that was attacked, where it was measured.
        seconds: Processor time, where it was measured.
    """

    kind: str
    lost: str = ""
    detail: str = ""
    megabytes: float | None = None
    seconds: float | None = None


class Campaign(ABC):
    """Attacks of one kind. Attack number i depends on the seed and i only, so that it can be repeated alone.

    Used as a context manager: what the attacks share (a model, a server) is made on entry and ended on exit.

    Args:
        work: An empty folder for whatever the attacks write.
        seed: Seed of every choice.
    """

    runs = 100
    """Attacks when --runs does not say."""

    quick = 8
    """Attacks of the short version that the test suite runs."""

    def __init__(self, work: Path, seed: int) -> None:
        self.work, self.seed = work, seed

    def __enter__(self) -> Self:
        """Make what the attacks share."""
        return self

    def __exit__(  # noqa: B027  # not every campaign has something to end
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what was begun on entry."""

    def rng(self, index: int) -> random.Random:
        """The random choices of one attack."""
        return random.Random(f"{type(self).__name__} {self.seed} {index}")

    @abstractmethod
    def trial(self, index: int) -> Trial:
        """Make one attack. An exception that leaves this method is a loss, too."""

    def figures(self) -> Mapping[str, float | int | str]:
        """Figures over all attacks so far, for the report: peak memory, waits ..."""
        return {}


@dataclass(frozen=True)
class Ended:
    """A command that has ended, or was stopped.

    Attributes:
        code: Exit code; negative for a signal; None if it was stopped because it did not end.
        out: Standard output.
        err: Standard error.
        megabytes: Peak resident memory.
        cpu_seconds: Processor time of the command and its children.
    """

    code: int | None
    out: str
    err: str
    megabytes: float
    cpu_seconds: float

    def fault(self, promised: Sequence[int] = PROMISED) -> str:
        """Why the command counts as lost: a traceback, no end, a crash, or an exit code that is not promised."""
        if self.code is None:
            return "no end"
        if "Traceback (most recent call last)" in self.err:
            return f"traceback: {self.err.strip().splitlines()[-1][:200]}"
        if self.code not in promised:
            last = self.err.strip().splitlines()[-1:] or [""]
            return f"exit code {self.code}: {last[0][:200]}"
        return ""


def ecmvae(
    words: Sequence[str | bytes],
    *,
    cpu_limit: int = 30,
    wall_limit: float = 120.0,
    memory_limit_mb: int | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run one command of ecmvae in a process of its own, with limits.

    Args:
        words: The command line after ``ecmvae``.
        cpu_limit: Processor seconds after which the kernel ends it.
        wall_limit: Seconds after which it is killed.
        memory_limit_mb: Address space that it may take.
        cwd: Folder that it starts in.
        env: Its environment; this process's without it.
    """

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_limit, cpu_limit + 5))
        if memory_limit_mb is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory_limit_mb * 2**20,) * 2)

    command = [PYTHON, "-c", _MEASURED, *words]
    started = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=cwd, env=env,
        preexec_fn=limit, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=wall_limit - (time.monotonic() - started))
            code: int | None = process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            code = None
    text, _, measured = err.decode(errors="replace").rpartition(_MARK)
    if not measured[:1].isdigit():
        text, measured = err.decode(errors="replace"), "0 0"
    megabytes, seconds = map(float, measured.split()[:2])
    if code in (-24, -9):  # SIGXCPU: it did not end in the time that it has
        code = None
    return Ended(code, out.decode(errors="replace"), text, megabytes, seconds)


_MARK = "\n--measured--"
_MEASURED = f"""
import atexit, resource, sys
def tell():
    own, child = (resource.getrusage(each) for each in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = sum(each.ru_utime + each.ru_stime for each in (own, child))
    # Not own.ru_maxrss: it begins with that of the process that started this one.
    with open("/proc/self/status") as status:
        (peak,) = (int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    sys.stderr.write({_MARK!r} + f"{{max(peak, child.ru_maxrss) / 1024:.1f}} {{seconds:.2f}}")
atexit.register(tell)
from ecmvae.cli import main
sys.exit(main())
"""
