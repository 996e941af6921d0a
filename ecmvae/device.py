"""Where tensors are computed: the device that a name stands for on this machine."""

from __future__ import annotations

import torch

from ecmvae.errors import UserError


def choose_device(name: str) -> torch.device:
    """The device of that name: "auto" is a CUDA GPU, else Apple's, else the CPU; any other name is torch's.

    Raises:
        UserError: When this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        if device.type not in ("cpu", "cuda", "mps"):  # "meta" computes nothing
            raise RuntimeError(f"no results come from {device.type}")
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device {name!r} is not available here: use auto, cpu, cuda or mps"
        ) from error
    return device


def multiplies_bfloat16(kind: str) -> bool:
    """Whether a device of this kind, cpu, cuda or mps, has instructions for products of bfloat16."""
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind != "cpu":
        return False
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
