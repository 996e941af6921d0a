"""Name what is missing, truncated or odd in a data folder; the same as `ecmvae check-data`.

python data_prep/check.py AVSBench --out check.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ecmvae.data.command import check_data
from ecmvae.errors import UserError


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 2 when something is wrong."""
    options = argparse.ArgumentParser(
        prog="data_prep/check.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("root", metavar="FOLDER", help="folder that holds a data set")
    options.add_argument(
        "--task",
        default="auto",
        help="data set by name, package.module:load, or all there is (auto)",
    )
    options.add_argument("--splits", nargs="+", metavar="SPLIT", help="only these splits")
    options.add_argument("--out", metavar="FILE", help="write everything found to this JSON file")
    options.add_argument("--workers", type=int, default=4, help="threads that read files (4)")
    given = options.parse_args(words)
    try:
        return check_data(given.root, given.task, given.splits, given.out, given.workers)
    except UserError as error:
        print(f"data_prep/check.py: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
