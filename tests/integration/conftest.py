"""What the tests from end to end share."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _no_curves() -> Iterator[None]:
    """Runs draw no curves here: that takes as long as a toy training, and tests/training/test_run.py looks at them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ecmvae.training.run.draw_curves", lambda history, picture: None)
        yield
