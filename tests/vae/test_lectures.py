"""The table of rows: what five lecture documents show, one test a row, and where it lives in the library.

The documents are 000 (generative models, autoencoders, VAEs), 001 (variational autoencoders), 002 (course notes), 003
(autoencoders, latent-variable models, faces, ECMVAE) and 004 (PCA to evaluation and applications). `lecture_rows` holds
the checks; `python tests/vae/test_lectures.py` prints the table. `lectures.md` beside this file lists the formulas and
models of the specification with the tests that go deeper.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.vae.lecture_rows")

from tests.vae.lecture_rows import applications, faces, introduction, latent_models, variational  # noqa: E402, F401
from tests.vae.lecture_rows.shared import ROOT, ROWS  # noqa: E402

COUNT = 106
RUNNING = [row for _, row in sorted(ROWS.items()) if row.check is not None]


@pytest.mark.parametrize("row", RUNNING, ids=lambda row: f"{row.number:03d}-{row.document}")
def test_row(row) -> None:
    row.check()


def test_every_row_is_there_and_at_most_three_do_not_run() -> None:
    assert sorted(ROWS) == list(range(1, COUNT + 1))
    absent = [row for row in ROWS.values() if row.check is None]
    assert len(absent) <= 3
    assert all(row.reason for row in absent)


@pytest.mark.parametrize("where", sorted({row.where for row in RUNNING}))
def test_where_it_lives(where: str) -> None:
    assert any((place / where).exists() for place in (ROOT / "ecmvae", ROOT))


if __name__ == "__main__":
    for number, each in sorted(ROWS.items()):
        print(
            f"| {number} | {each.document} | {each.claim} | {each.where or 'not here: ' + each.reason} |"
        )
