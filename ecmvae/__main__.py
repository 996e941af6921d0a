"""``python -m ecmvae`` is ``ecmvae``."""

import sys

from ecmvae.cli import main

sys.exit(main())
