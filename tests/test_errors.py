"""Ranges with both ends, and whose number a process has."""

import pytest

from ecmvae.errors import UserError, check_range, process_rank


@pytest.mark.parametrize("value", [0.5, 1, 2])
def test_both_ends_lie_in_a_range(value: float) -> None:
    check_range("train.epochs", value, 0.5, 2)


@pytest.mark.parametrize("value", [0.49, 2.01, float("nan"), float("inf")])
def test_outside_is_one_line_with_the_name(value: float) -> None:
    with pytest.raises(UserError) as raised:
        check_range("train.epochs", value, 0.5, 2)
    assert str(raised.value) == f"train.epochs must be from 0.5 to 2, got {value}"


def test_the_first_variable_that_is_a_number_says_the_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    assert process_rank() == 0
    monkeypatch.setenv("SLURM_PROCID", "5")
    assert process_rank() == 5
    monkeypatch.setenv("RANK", "of nobody")
    assert process_rank() == 5
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert process_rank() == 1
    monkeypatch.setenv("RANK", "12")
    assert process_rank() == 12
