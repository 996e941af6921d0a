"""Devices by name."""

import pytest

from ecmvae.device import choose_device, multiplies_bfloat16
from ecmvae.errors import UserError


def test_unknown_device_is_refused() -> None:
    assert choose_device("cpu").type == "cpu"
    for name in ("cuda:77", "toaster", "meta"):
        with pytest.raises(UserError, match="not available"):
            choose_device(name)


@pytest.mark.parametrize(
    ("able", "expected"), [("avx512_bf16", True), ("amx_bf16", True), ("avx512_f", False)]
)
def test_a_processor_multiplies_bfloat16_by_its_instructions(
    able: str, expected: bool, monkeypatch
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {able: True})
    assert multiplies_bfloat16("cpu") is expected
    assert multiplies_bfloat16("mps") is False
