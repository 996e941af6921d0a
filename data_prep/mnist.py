"""Fetch MNIST and Fashion-MNIST into the cache: `python data_prep/mnist.py [mnist] [fashion] [--cache FOLDER]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ecmvae.data.mnist import fetch_images, load_images
from ecmvae.errors import UserError


def main() -> int:
    """Fetch what was named and print where it lies and what it holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        choices=("mnist", "fashion", []),
        help="what to fetch; both when not named",
    )
    parser.add_argument(
        "--cache", type=Path, help="folder for the converted files; default: ~/.cache/ecmvae"
    )
    arguments = parser.parse_args()
    try:
        for name in arguments.names or ("mnist", "fashion"):
            path = fetch_images(name, arguments.cache)
            images = load_images(name, arguments.cache)
            print(
                f"{name}: {len(images.train_images)} training and {len(images.test_images)} test images in {path}"
            )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
