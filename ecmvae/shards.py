"""Which part of a list of files is this process's: `--shard 3/64`, or what torchrun, SLURM or Kubernetes say.

Shard i of n takes positions i, i + n, i + 2n ... of the whole list, before anything that is done is left out. Counts
then differ by one at most and neighbours in a folder, which are often alike in length, are spread over the shards. A
hash of the name would not move a file to another shard when the list grows, but it fills shards unevenly (200 files
over 64: from 0 to 9), and is not needed for that: every shard reads the manifests of all (`ecmvae.manifest`), so a
finished file is left out whichever shard did it, and n may change from one run to the next.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ecmvae.errors import UserError
from ecmvae.foreign_text import short

Item = TypeVar("Item")

MAX_SHARDS = 1_000_000

_LAUNCHERS = (("RANK", "WORLD_SIZE"), ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"))
"""Variables with a process's index from 0, and with the number of processes: torchrun's and Kubernetes'."""


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count`, counted from 1.

    Example:
        >>> Shard.parse("2/3")
        Shard(number=2, count=3)
        >>> Shard.parse("auto", {"RANK": "1", "WORLD_SIZE": "3"}).of(["a", "b", "c", "d", "e"])
        ['b', 'e']
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str] = os.environ) -> Shard:
        """From ``3/64``, or from the variables of the launcher for ``auto``.

        Args:
            text: ``i/n`` with 1 <= i <= n, or ``auto``.
            environment: RANK and WORLD_SIZE (torchrun), SLURM_PROCID and SLURM_NTASKS (srun), SLURM_ARRAY_TASK_ID with
                its _COUNT, _MIN and _MAX (job arrays; with several tasks each, every task is a shard), or
                JOB_COMPLETION_INDEX and JOB_COMPLETIONS (Kubernetes; the second has to be set by hand).

        Raises:
            UserError: If the text is neither, or the variables are missing, incomplete, or disagree.
        """
        if text == "auto":
            return _of_launcher(environment)
        match = re.fullmatch(r"(\d{1,7})/(\d{1,7})", text)
        number, count = map(int, match.groups()) if match else (0, 0)
        if not 1 <= number <= count <= MAX_SHARDS:
            raise UserError(
                f"--shard is i/n with i from 1 to n, such as 3/64, or auto, got {short(text)}"
            )
        return cls(number, count)

    def of(self, items: Sequence[Item]) -> list[Item]:
        """This shard's items, in their order."""
        return list(items[self.number - 1 :: self.count])

    def __str__(self) -> str:
        """As the command line takes it."""
        return f"{self.number}/{self.count}"


def _of_launcher(environment: Mapping[str, str]) -> Shard:
    found = _of_slurm(environment)
    for names in _LAUNCHERS:
        if shard := _pair(environment, *names):
            found[names] = shard
    if not found:
        raise UserError(
            "--shard auto finds no RANK (torchrun), SLURM_PROCID (srun), SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX "
            "(Kubernetes) here: give --shard i/n"
        )
    # A launcher of one process says nothing: a batch script has SLURM_PROCID=0 beside what torchrun sets.
    saying = {names: shard for names, shard in found.items() if shard.count > 1} or found
    if len(set(saying.values())) > 1:
        told = " and ".join(
            ", ".join(f"{name}={short(environment[name])}" for name in names) for names in saying
        )
        raise UserError(f"--shard auto: {told} disagree: give --shard i/n")
    return next(iter(saying.values()))


def _pair(environment: Mapping[str, str], index_name: str, count_name: str) -> Shard | None:
    """The shard that two variables name; None where neither is set."""
    if index_name not in environment:
        return None
    index = _number(environment, index_name)
    if count_name not in environment:
        if count_name == "JOB_COMPLETIONS":
            raise UserError(
                f"--shard auto: Kubernetes sets JOB_COMPLETION_INDEX={index} but no variable with the number of "
                f"indexes: set JOB_COMPLETIONS to the job's completions in the container's env, or give --shard i/n"
            )
        raise UserError(
            f"--shard auto: {index_name} is set but {count_name} is not: set it, or give --shard i/n"
        )
    count = _number(environment, count_name)
    if not index < count <= MAX_SHARDS:
        raise UserError(
            f"--shard auto: {index_name}={index} must be below {count_name}={count}, which is at most {MAX_SHARDS}: "
            "give --shard i/n"
        )
    return Shard(index + 1, count)


def _of_slurm(environment: Mapping[str, str]) -> dict[tuple[str, ...], Shard]:
    """The shard of a task of srun, of a task of a job array, or of a task of srun within one."""
    task: Shard | None = None
    # else a batch script's own 0
    if environment.get("SLURM_PROCID", "0") != "0" or "SLURM_NTASKS" in environment:
        task = _pair(environment, "SLURM_PROCID", "SLURM_NTASKS")
    if "SLURM_ARRAY_TASK_ID" not in environment:
        return {("SLURM_PROCID", "SLURM_NTASKS"): task} if task else {}
    names = tuple(f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "COUNT", "MIN", "MAX"))
    if missing := [name for name in names if name not in environment]:
        raise UserError(
            f"--shard auto: {names[0]} is set but {missing[0]} is not: set it, or give --shard i/n"
        )
    identity, count, least, most = (_number(environment, name) for name in names)
    if most - least + 1 != count or not least <= identity <= most:
        raise UserError(
            f"--shard auto: the array's task {identity} is one of {count} from {least} to {most}, with gaps: give "
            "--shard i/n with the n of the whole run"
        )
    tasks = task or Shard(1, 1)
    within = ("SLURM_PROCID", "SLURM_NTASKS") if task else ()
    return {
        (*names[:2], *within): Shard(
            (identity - least) * tasks.count + tasks.number, count * tasks.count
        )
    }


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment[name]
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise UserError(
            f"--shard auto: {name} must be a whole number, got {short(text)}: give --shard i/n"
        )
    return int(text)
