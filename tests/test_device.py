"""Devices by name."""

import pytest

from ecmvae.device import choose_device
from ecmvae.errors import UserError


def test_unknown_device_is_refused() -> None:
    assert choose_device("cpu").type == "cpu"
    for name in ("cuda:77", "toaster", "meta"):
        with pytest.raises(UserError, match="not available"):
            choose_device(name)
