"""Write small data sets in the exact layouts of the released ones, to try every command on.

python data_prep/miniature.py mini                          # S4, MS3 and AVSS; nothing is downloaded
python data_prep/miniature.py mini --collage data/collage   # real photos and recordings
python data_prep/miniature.py mini --name vpo_ss            # one of the others, see docs/data.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ecmvae.data.miniature import CollageScenes, Scenes, ShapeScenes, write_miniature, write_miniature_avss
from ecmvae.data.sets.miniature import WRITERS, write_set
from ecmvae.data.sets.records import RECORDS
from ecmvae.errors import UserError


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = argparse.ArgumentParser(
        prog="data_prep/miniature.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("out", type=Path, metavar="FOLDER", help="folder to make; must not exist or be empty")
    options.add_argument("--collage", type=Path, metavar="FOLDER", help="take scenes from this AVS-Collage")
    options.add_argument("--name", choices=tuple(WRITERS), help="write this data set instead")
    options.add_argument("--train", type=int, default=4, help="training clips of each set (4)")
    options.add_argument("--test", type=int, default=2, help="validation and test clips of each set (2)")
    given = options.parse_args(words)
    counts = {"train": given.train, "val": given.test, "test": given.test}
    try:
        if given.name is not None:
            splits = RECORDS[given.name].splits
            write_set(given.out, given.name, {each: given.train if each == "train" else given.test for each in splits})
            print(f"{given.out}: {given.name} written")
            return 0
        single, several = (_scenes(given.collage, task) for task in ("s4", "ms3"))
        write_miniature(given.out, "s4", counts, source=single, raw_video=True)
        write_miniature(given.out, "ms3", counts, source=several, raw_video=True)
        write_miniature_avss(given.out / "AVSS", counts, single=single, several=several)
    except UserError as error:
        print(f"data_prep/miniature.py: error: {error}", file=sys.stderr)
        return 2
    print(f"{given.out}: Single-source, Multi-sources and AVSS written")
    return 0


def _scenes(collage: Path | None, task: str) -> Scenes:
    return ShapeScenes(task) if collage is None else CollageScenes(collage, task)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
