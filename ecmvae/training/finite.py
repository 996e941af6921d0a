"""Whether training is still finite, without waiting for the device at every step.

`FiniteLoss` keeps the loss terms of each step on the device and looks at them when they are logged. Whatever is kept of
a run (a checkpoint, the best model) is checked before it is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecmvae.foreign_text import cut

_REMEDY = "lower train.learning_rate or set train.gradient_clip, and start again; after a whole epoch, --resume goes on"


class NotFiniteError(FloatingPointError):
    """The loss or the weights have become NaN or infinite.

    Attributes:
        details: What is known of the step, ready for JSON: its number, its loss terms by name, and its clips.
    """

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details = details


class FiniteLoss:
    """The loss terms of the steps since the last look."""

    def __init__(self) -> None:
        self._steps: list[tuple[int, tuple[str, ...], Tensor, tuple[str, ...]]] = []

    def remember(
        self, step: int, terms: Mapping[str, Float[Tensor, ""]], clips: Sequence[str] = ()
    ) -> None:
        """Keep the detached terms of one step, which stay on their device, and the names of its clips."""
        self._steps.append((step, tuple(terms), torch.stack([*terms.values()]), tuple(clips)))

    def look(self) -> None:
        """Forget the steps, unless one was not finite; this waits for the device.

        Raises:
            NotFiniteError: Naming the first step that was not, the first of its terms, and its clips.
        """
        steps, self._steps = self._steps, []
        if not steps or bool(torch.cat([values for _, _, values, _ in steps]).isfinite().all()):
            return
        for step, names, values, clips in steps:
            broken = [
                name
                for name, finite in zip(names, values.isfinite().tolist(), strict=True)
                if not finite
            ]
            if broken:
                of = f"; clips: {cut(', '.join(clips))}" if clips else ""
                raise NotFiniteError(
                    f"the loss is no longer a finite number at step {step} (first in: {broken[0]}{of}): {_REMEDY}",
                    step=step,
                    terms={
                        name: str(value) for name, value in zip(names, values.tolist(), strict=True)
                    },
                    first=broken[0],
                    clips=list(clips),
                )


def check_weights(module: nn.Module, step: int) -> None:
    """Refuse weights that training has made NaN or infinite; this waits for the device.

    A step whose loss is finite can do that, by an infinite gradient.

    Raises:
        NotFiniteError: Naming the first of them.
    """
    trained = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
    if not trained:
        return
    finite = torch.stack([weight.detach().isfinite().all() for weight in trained.values()]).tolist()
    broken = [name for name, fine in zip(trained, finite, strict=True) if not fine]
    if broken:
        raise NotFiniteError(
            f"the weights are no longer finite numbers after step {step} (first in: {broken[0]}): {_REMEDY}",
            step=step,
            weights=broken,
            clips=[],
        )
