"""One process that does job after job, so that a campaign pays for starting it once and sees what it leaves behind."""

from __future__ import annotations

import importlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

from campaigns.base import PYTHON, Ended

HEAVY = (
    "torch",
    "lightning",
    "onnxruntime",
    "gradio",
    "timm",
    "torchaudio",
    "sklearn",
    "matplotlib",
)
NEEDS_HEAVY = 99
"""Exit code of a light child that asks for a heavy library."""
_ENDED_BY_WATCHDOG = (-signal.SIGPROF, -signal.SIGKILL)


@dataclass(frozen=True)
class Answer(Ended):
    """A job that has ended.

    Attributes:
        resident: Resident memory of the worker after the job, in MB; 0 if the worker died.
        files: Open files of the worker after the job.
        threads: Threads of the worker after the job.
    """

    resident: float = 0.0
    files: int = 0
    threads: int = 0


class Worker:
    """A process that calls one function with the words of each job; it is started again when it has died.

    Args:
        function: ``module:name`` of a function that takes a list of words and returns an exit code.
        work: Folder for what the worker prints.
        cpu_limit: Processor seconds, all threads together, after which the kernel ends a job, and the worker with it.
        wall_limit: Seconds after which it is killed.
        memory_limit_mb: Address space that the worker may take.
        preload: Modules that are imported first.
        forks: Do each job in a child of the worker, which has the modules already and leaves nothing behind.
        env: Variables of the worker that differ from this process's.
    """

    def __init__(
        self,
        function: str,
        work: Path,
        *,
        cpu_limit: float = 30.0,
        wall_limit: float = 120.0,
        memory_limit_mb: int | None = None,
        preload: Sequence[str] = (),
        forks: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.started = 0
        """How often the process was started."""
        self._options = {
            "function": function,
            "printed": str(work / "printed.txt"),
            "memory_limit_mb": memory_limit_mb,
            "preload": list(preload),
            "forks": forks,
        }
        self._cpu_limit, self._wall_limit = cpu_limit, wall_limit
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, words: Sequence[str | bytes], cwd: Path | None = None) -> Answer:
        """Do one job, in the folder `cwd`."""
        process = self._process if self._process and self._process.poll() is None else self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        words = [word if isinstance(word, str) else os.fsdecode(word) for word in words]
        job = {
            "words": words,
            "cwd": None if cwd is None else str(cwd),
            "cpu_limit": self._cpu_limit,
        }
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
        answered, _, _ = select.select([process.stdout], [], [], self._wall_limit)
        if not answered:
            os.killpg(process.pid, signal.SIGKILL)
        line = process.stdout.readline()
        printed = Path(self._options["printed"]).read_text(encoding="utf-8", errors="replace")
        if line:
            answer = Answer(out="", err=printed, **json.loads(line))
            return replace(answer, code=None) if answer.code in _ENDED_BY_WATCHDOG else answer
        code = process.wait()
        return Answer(
            None if code in _ENDED_BY_WATCHDOG else code, "", printed, 0.0, self._cpu_limit
        )

    def _start(self) -> subprocess.Popen[bytes]:
        self.stop()
        self.started += 1
        command = [PYTHON, "-m", "campaigns.worker", json.dumps(self._options)]
        folder = Path(__file__).parents[1]
        paths = [str(folder), str(folder.parent), self._env.get("PYTHONPATH", "")]
        env = {**self._env, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
            bufsize=0,
            start_new_session=True,
        )
        return self._process

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process.stdin.close()
            self._process.stdout.close()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def run_command(words: list[str]) -> int:
    """One command of ecmvae, as its command line runs it."""
    from ecmvae.cli import main

    return main(words)


class _NoHeavyLibraries(MetaPathFinder):
    """Ends the process when a heavy library is asked for."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        # importlib.util only looks for it
        if name in HEAVY and sys._getframe(2).f_code.co_name != "find_spec":
            os._exit(NEEDS_HEAVY)


def run_lightly(words: list[str]) -> int:
    """A command that must not import a heavy library; one that does ends with exit code 99."""
    sys.meta_path.insert(0, _NoHeavyLibraries())
    return run_command(words)


def _status(name: str) -> int:
    """A number of /proc/self/status."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.partition(f"{name}:")[2].split()[0])


def _called(function: Callable[[list[str]], int], words: list[str]) -> int:
    try:
        return function(words)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1


def _here(function: Callable[[list[str]], int], job: dict[str, Any]) -> dict[str, Any]:
    """Do a job in this process."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM starts again
    before = time.process_time()
    # SIGPROF has no handler: it ends the process
    signal.setitimer(signal.ITIMER_PROF, job["cpu_limit"])
    code = _called(function, job["words"])
    signal.setitimer(signal.ITIMER_PROF, 0)
    return {
        "code": code,
        "megabytes": _status("VmHWM") / 1024,
        "cpu_seconds": time.process_time() - before,
        "resident": _status("VmRSS") / 1024,
        "files": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
        "threads": _status("Threads"),
    }


def _in_child(function: Callable[[list[str]], int], job: dict[str, Any]) -> dict[str, Any]:
    """Do a job in a child of this process."""
    child = os.fork()
    if not child:
        signal.setitimer(signal.ITIMER_PROF, job["cpu_limit"])
        code = _called(function, job["words"])
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code & 0xFF)
    _, status, used = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return {
        "code": code,
        "megabytes": used.ru_maxrss / 1024,
        "cpu_seconds": used.ru_utime + used.ru_stime,
    }


def _serve(options: Mapping[str, Any]) -> None:
    """Answer the jobs of standard input on what was standard output."""
    answers = os.fdopen(os.dup(1), "w")
    printed = os.open(options["printed"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(printed, standard)
    for module in options["preload"]:
        importlib.import_module(module)
    if options["memory_limit_mb"] is not None:
        resource.setrlimit(resource.RLIMIT_AS, (options["memory_limit_mb"] * 2**20,) * 2)
    module, _, name = options["function"].partition(":")
    function, do = (
        getattr(importlib.import_module(module), name),
        _in_child if options["forks"] else _here,
    )
    for line in sys.stdin:
        job = json.loads(line)
        os.ftruncate(printed, 0)
        if job["cwd"] is not None:
            os.chdir(job["cwd"])
        answer = do(function, job)
        sys.stdout.flush()
        sys.stderr.flush()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve(json.loads(sys.argv[1]))
