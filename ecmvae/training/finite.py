"""Whether training is still finite, without waiting for the device at every step.

`FiniteLoss` keeps the loss terms of each step on the device and looks at them when they are logged. Whatever is kept of
a run (a checkpoint, the best model) is looked at before it is written.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

_REMEDY = (
    "lower train.learning_rate or set train.gradient_clip, and start again; once an epoch is done --resume goes on"
)


class FiniteLoss:
    """The loss terms of the steps since the last look."""

    def __init__(self) -> None:
        self._steps: list[tuple[int, tuple[str, ...], Tensor]] = []

    def remember(self, step: int, terms: Mapping[str, Float[Tensor, ""]]) -> None:
        """Keep the detached terms of one step; they stay on their device."""
        self._steps.append((step, tuple(terms), torch.stack([*terms.values()])))

    def look(self) -> None:
        """Forget the steps, unless one was not finite; this waits for the device.

        Raises:
            FloatingPointError: Naming the first step that was not, and the first of its terms.
        """
        steps, self._steps = self._steps, []
        if not steps or bool(torch.cat([values for _, _, values in steps]).isfinite().all()):
            return
        for step, names, values in steps:
            broken = [name for name, finite in zip(names, values.isfinite().tolist(), strict=True) if not finite]
            if broken:
                raise FloatingPointError(
                    f"the loss is no longer a finite number at step {step} (first in: {broken[0]}): {_REMEDY}"
                )


def check_weights(module: nn.Module, step: int) -> None:
    """Refuse weights that training has made NaN or infinite; this waits for the device.

    A step whose loss is finite can do that, by an infinite gradient.

    Raises:
        FloatingPointError: Naming the first of them.
    """
    trained = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
    if not trained:
        return
    finite = torch.stack([weight.detach().isfinite().all() for weight in trained.values()]).tolist()
    broken = [name for name, fine in zip(trained, finite, strict=True) if not fine]
    if broken:
        raise FloatingPointError(
            f"the weights are no longer finite numbers after step {step} (first in: {broken[0]}): {_REMEDY}"
        )
