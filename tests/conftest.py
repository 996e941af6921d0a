"""Every test runs with shapes checked: jaxtyping annotations of ecmvae are enforced by beartype."""

import gc
import os

# tests are the same with and without a GPU; gpu-marked ones reset it
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

from jaxtyping import install_import_hook

# The hook must be in place before anything of ecmvae is imported; pytest keeps this module for the whole session.
install_import_hook("ecmvae", "beartype.beartype")
gc.disable()  # until all tests are collected: what is imported stays

import shutil  # noqa: E402
from collections.abc import Iterator  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402

REQUIRE_CHROMIUM = "ECMVAE_REQUIRE_CHROMIUM"
"""Environment variable: where it is set, a test in the browser fails without one instead of being left out."""


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Each test starts from the same random state, whichever tests ran before."""
    torch.manual_seed(0)


def pytest_configure(config: pytest.Config) -> None:
    """Leave the second core to a parallel worker."""
    torch.set_num_threads(1)


def pytest_collection_finish(session: pytest.Session) -> None:
    """No collection of garbage looks again at the millions of objects of imported libraries."""
    gc.freeze()
    gc.enable()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests in a browser need Debian's chromium: without it they are left out, or fail where it is required."""
    if item.get_closest_marker("browser") is None or shutil.which("chromium"):
        return
    if os.environ.get(REQUIRE_CHROMIUM):
        pytest.fail(
            f"there is no chromium, and {REQUIRE_CHROMIUM} is set: apt-get install chromium",
            pytrace=False,
        )
    pytest.skip("there is no chromium")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Say last of all which tests were left out for want of a browser, and how to get them."""
    yield
    left_out = [
        report.nodeid
        for report in terminalreporter.stats.get("skipped", [])
        if "browser" in report.keywords
    ]
    if left_out:
        terminalreporter.section("left out: no chromium", sep="=", yellow=True)
        for test in left_out:
            terminalreporter.line(test)
        terminalreporter.line(
            f"These {len(left_out)} tests drive a real browser: apt-get install chromium, then again."
        )
