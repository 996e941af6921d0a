"""ecmvae: cut out of a video the objects that sound.

```python
import ecmvae

result = ecmvae.VideoPredictor().predict("my_video.mp4")
result.save("masks")
```

The names below are imported when they are first used, so that ``import ecmvae`` is quick and needs no optional package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ecmvae.provenance import __version__ as __version__

if TYPE_CHECKING:
    from ecmvae.audio.log_mel import log_mel
    from ecmvae.config import Config, load_config
    from ecmvae.errors import UserError
    from ecmvae.models import ECMVAE, ECMVAEOutput, SegmentationOutput, build_model
    from ecmvae.models.checkpoint import load_model, save_model
    from ecmvae.prediction.predictor import VideoPredictor
    from ecmvae.prediction.result import VideoResult
    from ecmvae.types import AVBatch, AVClip
    from ecmvae.vae.gaussian import DiagonalGaussian, product_of_experts

__all__ = [
    "ECMVAE",
    "AVBatch",
    "AVClip",
    "Config",
    "DiagonalGaussian",
    "ECMVAEOutput",
    "SegmentationOutput",
    "UserError",
    "VideoPredictor",
    "VideoResult",
    "build_model",
    "load_config",
    "load_model",
    "log_mel",
    "product_of_experts",
    "save_model",
]

_HOMES = {
    "ecmvae.audio.log_mel": ("log_mel",),
    "ecmvae.models.checkpoint": ("load_model", "save_model"),
    "ecmvae.config": ("Config", "load_config"),
    "ecmvae.errors": ("UserError",),
    "ecmvae.prediction.predictor": ("VideoPredictor",),
    "ecmvae.prediction.result": ("VideoResult",),
    "ecmvae.models": ("ECMVAE", "ECMVAEOutput", "SegmentationOutput", "build_model"),
    "ecmvae.types": ("AVBatch", "AVClip"),
    "ecmvae.vae.gaussian": ("DiagonalGaussian", "product_of_experts"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ecmvae' has no attribute {name!r}")
    try:
        return getattr(import_module(_HOME_OF[name]), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("torch", "timm", "einops", "torchmetrics"):
            raise
        raise ImportError(f"ecmvae.{name} needs PyTorch: pip install 'ecmvae[torch]'") from None


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
