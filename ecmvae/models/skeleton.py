"""Networks without memory: their tensors have shapes and no values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_FILLS = (Tensor.normal_, Tensor.uniform_)


@contextmanager
def skeletons() -> Iterator[None]:
    """Within this block, networks are built on PyTorch's meta device, and no random number is drawn.

    Example:
        >>> with skeletons():
        ...     layer = torch.nn.Linear(30_000, 30_000)
        >>> layer.weight.shape, layer.weight.device
        (torch.Size([30000, 30000]), device(type='meta'))
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"), _WithoutFilling():
        yield


class _WithoutFilling(TorchFunctionMode):
    """Leaves out initialisation, which on the meta device does nothing and takes most of the time."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: Any = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if function in _FILLS or getattr(function, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)
