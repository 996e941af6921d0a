"""Make frames, 16 kHz sound and log-mel patches of AVSBench's raw videos, in the released layout.

    python data_prep/avsbench.py AVSBench --task s4

AVSBENCH is the folder that holds Single-source or Multi-sources with the csv, gt_masks and raw_videos. An interrupted
run goes on when the same command is given again; files that came with the release are left alone. What each clip was
made of, and why one was skipped, is written to preparation.jsonl beside the csv. Several machines share the work with
--shard, see docs/scale.md.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from ecmvae.data.prepare import MANIFEST, PrepareSettings, prepare
from ecmvae.errors import UserError
from ecmvae.shards import Shard


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="data_prep/avsbench.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument(
        "root", metavar="AVSBENCH", help="folder that holds Single-source or Multi-sources"
    )
    options.add_argument("--task", choices=("s4", "ms3"), required=True)
    options.add_argument(
        "--rule", choices=("released", "exact"), default="released", help=_RULE_HELP
    )
    options.add_argument("--size", type=int, default=224, help="side of the frames in pixels (224)")
    options.add_argument("--workers", type=int, default=2, help="processes (2)")
    options.add_argument(
        "--force", action="store_true", help="make everything again, released files included"
    )
    options.add_argument(
        "--shard", metavar="I/N", help="make only part I of N of the table, or auto: by launcher"
    )
    options.add_argument(
        "--retry-failed", action="store_true", help="try videos again that were skipped before"
    )
    options.add_argument("--quiet", action="store_true", help="no progress bar")
    return options


_RULE_HELP = "which frame stands for a second: counted at the rounded frame rate (released), or by timestamps (exact)"


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 2 when a clip had to be skipped."""
    given = parser().parse_args(words)
    settings = PrepareSettings(rule=given.rule, size=given.size)
    try:
        results = prepare(
            given.root,
            given.task,
            settings,
            workers=given.workers,
            force=given.force,
            shard=Shard.parse(given.shard) if given.shard else None,
            retry_failed=given.retry_failed,
            progress=not given.quiet,
        )
    except UserError as error:
        print(f"data_prep/avsbench.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    counts = Counter(result.status for result in results.values())
    print(
        ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        + f"; see {MANIFEST}"
    )
    for name, result in results.items():
        if result.status == "skipped":
            print(f"data_prep/avsbench.py: skipped {name}: {result.reason}", file=sys.stderr)
    return 2 if counts["skipped"] else 0


if __name__ == "__main__":
    sys.exit(main())
