"""The one exception that means "the user can correct this", and which of several processes says so."""

import os


class UserError(ValueError):
    """A mistake the user can correct: bad file, bad option, bad config.

    The message is one clear line: what is wrong, where, and what to do. The command line prints it on standard error
    and exits with code 2, without a traceback.
    """


def check_range(name: str, value: int | float, low: int | float, high: int | float) -> None:
    """Check that an option lies in its range, both ends included; NaN does not.

    Raises:
        UserError: Naming the option, its range and its value.
    """
    if not low <= value <= high:
        raise UserError(f"{name} must be from {low} to {high}, got {value}")


def process_rank() -> int:
    """Number of this process in a distributed run, from 0, as its launcher tells it; 0 for a process of its own."""
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        if (text := os.environ.get(name, "")).isdecimal():
            return int(text)
    return 0
