"""Which files are whose: by hand, and by the variables of torchrun, SLURM and Kubernetes."""

from collections import Counter

import pytest

from ecmvae.errors import UserError
from ecmvae.shards import Shard


@pytest.mark.parametrize(("count", "length"), [(1, 5), (3, 10), (4, 4), (7, 3), (64, 200)])
def test_every_item_is_in_one_shard_and_counts_differ_by_one_at_most(
    count: int, length: int
) -> None:
    parts = [Shard(number, count).of(range(length)) for number in range(1, count + 1)]
    assert Counter(item for part in parts for item in part) == Counter(range(length))
    sizes = {len(part) for part in parts}
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    "text",
    ["0/4", "5/4", "x", "1/0", "-1/4", "1/4/2", "1.5/4", "3/64 ", "1/99999999", "", "１/４x"],
)
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="i/n with i from 1 to n, such as 3/64, or auto, got"):
        Shard.parse(text, {})


SRUN = {"SLURM_PROCID": "2", "SLURM_NTASKS": "8"}
ARRAY = {
    "SLURM_ARRAY_TASK_ID": "12", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "10",
    "SLURM_ARRAY_TASK_MAX": "13",
}  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"RANK": "0", "WORLD_SIZE": "1"}, "1/1"),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, "4/4"),
        (SRUN, "3/8"),
        (ARRAY, "3/4"),
        ({**ARRAY, "SLURM_PROCID": "0"}, "3/4"),  # in the array's batch script
        ({**ARRAY, "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, "6/8"),  # srun of two tasks in each
        ({"JOB_COMPLETION_INDEX": "0", "JOB_COMPLETIONS": "16"}, "1/16"),
        # torchrun in a batch script, where SLURM counts one task; and in a pod, which agrees
        ({"RANK": "3", "WORLD_SIZE": "4", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, "4/4"),
        (
            {"RANK": "3", "WORLD_SIZE": "4", "JOB_COMPLETION_INDEX": "3", "JOB_COMPLETIONS": "4"},
            "4/4",
        ),
    ],
)
def test_the_launchers_variables(environment: dict[str, str], expected: str) -> None:
    assert str(Shard.parse("auto", environment)) == expected


def test_the_tasks_of_an_array_of_sruns_are_all_shards() -> None:
    found = []
    for array in range(10, 14):
        for task in range(3):
            environment = {
                **ARRAY,
                "SLURM_ARRAY_TASK_ID": str(array),
                "SLURM_PROCID": str(task),
                "SLURM_NTASKS": "3",
            }
            found.append(str(Shard.parse("auto", environment)))
    assert found == [f"{number}/12" for number in range(1, 13)]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, r"finds no RANK \(torchrun\), SLURM_PROCID"),
        ({"SLURM_PROCID": "0"}, "finds no RANK"),  # a batch script without srun
        ({"RANK": "1"}, "RANK is set but WORLD_SIZE is not"),
        ({"SLURM_PROCID": "1"}, "SLURM_PROCID is set but SLURM_NTASKS is not"),
        ({"JOB_COMPLETION_INDEX": "3"}, "set JOB_COMPLETIONS to the job's completions"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, "RANK=4 must be below WORLD_SIZE=4"),
        ({"RANK": "-1", "WORLD_SIZE": "4"}, "RANK must be a whole number, got '-1'"),
        ({"RANK": "one", "WORLD_SIZE": "4"}, "RANK must be a whole number, got 'one'"),
        ({"RANK": "1", "WORLD_SIZE": "9" * 99}, "WORLD_SIZE must be a whole number"),
        ({"RANK": "1", "WORLD_SIZE": "999999999"}, "at most 1000000"),
        (
            {**SRUN, "RANK": "0", "WORLD_SIZE": "2"},
            r"SLURM_PROCID='2', SLURM_NTASKS='8' and RANK='0', WORLD_SIZE='2' dis",
        ),
        ({"SLURM_ARRAY_TASK_ID": "3"}, "SLURM_ARRAY_TASK_COUNT is not"),
        ({**ARRAY, "SLURM_ARRAY_TASK_COUNT": "2"}, "task 12 is one of 2 from 10 to 13, with gaps"),
        ({**ARRAY, "SLURM_ARRAY_TASK_ID": "14"}, "with gaps"),
    ],
)
def test_variables_that_say_nothing_or_disagree_are_one_line(
    environment: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message) as raised:
        Shard.parse("auto", environment)
    assert "\n" not in str(raised.value)
    assert "--shard i/n" in str(raised.value)
