"""Every test runs with shapes checked: jaxtyping annotations of ecmvae are enforced by beartype."""

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # tests are the same with and without a GPU; gpu-marked ones reset it

from jaxtyping import install_import_hook

# The hook must be in place before anything of ecmvae is imported; pytest keeps this module for the whole session.
install_import_hook("ecmvae", "beartype.beartype")

import pytest  # noqa: E402
import torch  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Each test starts from the same random state, whichever tests ran before."""
    torch.manual_seed(0)


def pytest_configure(config: pytest.Config) -> None:
    """Leave the second core to a parallel worker."""
    torch.set_num_threads(1)
