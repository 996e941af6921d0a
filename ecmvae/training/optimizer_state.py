"""Whether a saved state is one that an optimizer can go on from; torch itself checks only the number of parameters."""

from __future__ import annotations

import pickle
from typing import Any

FAULTS = (
    OSError,
    EOFError,
    pickle.UnpicklingError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)
"""What loading a checkpoint raises if the file is damaged, truncated or not a checkpoint."""


def check_optimizer(saved: Any, optimizer: Any) -> None:
    """Check that a saved state fits this Adam: the same parameters, moments of their shapes, settings of their types.

    Raises:
        ValueError: If it does not fit.
        TypeError, LookupError, AttributeError: If it is not an optimizer state.
    """
    for theirs, ours in zip(
        saved["param_groups"], optimizer.state_dict()["param_groups"], strict=True
    ):
        if odd := [
            name for name in ours.keys() & theirs.keys() if _kind(theirs[name]) != _kind(ours[name])
        ]:
            raise ValueError(f"{odd[0]} is of another kind")
        if theirs["params"] != ours["params"]:
            raise ValueError("other parameters")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, state in saved["state"].items():
        shape = parameters[index].shape
        if (state["exp_avg"].shape, state["exp_avg_sq"].shape, state["step"].shape) != (
            shape,
            shape,
            (),
        ):
            raise ValueError(f"moments of parameter {index} have another shape")


def _kind(value: Any) -> Any:
    """The same for values that may stand for each other: numbers, yes and no, or tuples of those."""
    if value is None or isinstance(value, bool):
        return bool
    if isinstance(value, int | float):
        return float
    return tuple(map(_kind, value)) if isinstance(value, tuple) else type(value)
