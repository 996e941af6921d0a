"""A training step does not wait for the device: no number is read back, and no shape depends on the data.

On a CPU nothing waits, so the operations that would are counted: those that read a number, those whose result has as
many rows as a tensor has True entries, and those that make a tensor of numbers of Python's, which a GPU would be sent.
Some steps also run on torch's meta device, which has no numbers that could be read or copied.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from prepared import VGGISH
from torch.utils._python_dispatch import TorchDispatchMode

from ecmvae.config import Config, load_config
from ecmvae.data.preprocess import ClipPreprocessor
from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.training.module import LOG_EVERY_STEPS, SegmentationModule
from ecmvae.training.transfer import collate_small, finish
from ecmvae.types import AVBatch

CONFIGS = Path(__file__).parents[2] / "configs"
WAITS = {
    "_local_scalar_dense",
    "_unique",
    "_unique2",
    "bincount",
    "equal",
    "is_nonzero",
    "item",
    "lift_fresh",
    "masked_select",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
}
INDEXING = (
    "index",
    "index_put",
    "index_put_",
    "_index_put_impl_",
    "_unsafe_index",
    "repeat_interleave",
)


class Waits(TorchDispatchMode):
    """Counts the operations that would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in INDEXING and any(
            each.dtype in (torch.bool, torch.uint8)
            for each in _tensors(args[1:])
            if name != "repeat_interleave"
        )
        if name in WAITS or by_mask or str(func) == "aten.repeat_interleave.Tensor":
            self.found[str(func)] += 1
        return func(*args, **(kwargs or {}))


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


@contextmanager
def counted() -> Iterator[Counter[str]]:
    with Waits() as waits:
        yield waits.found


def _config(layers: tuple[str, ...], overrides: dict[str, Any]) -> Config:
    small = {
        "model.channels": 16,
        "data.image_size": 32,
        "train.cache_features": False,
        "train.device": "cpu",
        "loss.match": 0.1,
    }
    return load_config(
        [CONFIGS / "debug.yaml", *(CONFIGS / "layers" / name for name in layers)], small | overrides
    )


def _batch(config: Config) -> AVBatch:
    """Two clips of 32 pixels; the second one is padded after its third frame and has one mask only."""
    clips, made = SyntheticAVS("ms3", length=2, size=32, seed=5), []
    for index in range(2):
        clip = clips[index]
        valid = torch.arange(5) < 5 - 2 * index
        known = torch.arange(5) < 5 - 4 * index
        labels = clip.objects * clip.masks[:, 0].long() if config.model.num_classes > 1 else None
        made.append(
            replace(
                clip,
                valid=valid,
                supervised=known,
                labels=labels,
                index=index,
                mirrored=index == 1,
                classes=("dog", "", "cow"),
                heard=(("dog",), ("cow", "dog"), (), (), ("cat",)),
            )
        )
    return collate_small([VGGISH.with_audio(clip) for clip in made])


def _module(config: Config, step: int = 1) -> SegmentationModule:
    module = SegmentationModule(config).train()
    module._trainer = SimpleNamespace(
        global_step=step,
        is_last_batch=False,
        num_training_batches=100,
        strategy=SimpleNamespace(reduce=lambda value: value),
    )
    return module


MATCHING = {"loss.audio_visual_matching": 1.0, "model.channels": 128}
AGREEMENT = ("agreement.yaml",)
CLASSES = ("loss.correspondence", "loss.names", "loss.sounds")
CASES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    **{
        f"{kind}, {formulas}": (
            (),
            {"model.latent.kind": kind, "loss.formulas": formulas, **MATCHING},
        )
        for kind in ("factorized", "single", "none")
        for formulas in ("principled", "released")
    },
    "product of experts": ((), {"model.latent.fusion": "poe"}),
    **{
        f"divergence {name}": ((), {"model.latent.shared_divergence": name, "loss.free_bits": 0.1})
        for name in ("kl", "geometric_js", "dimension_js")
    },
    "balanced kl, bce": ((), {"loss.kl_balance": 0.8, "loss.mask": "bce"}),
    "posterior repeats the first mask": ((), {"model.latent.weak_posterior": "repeat_first"}),
    "posterior sees pseudo masks": ((), {"model.latent.weak_posterior": "pseudo"}),
    "tpavi fusion": ((), {"model.fusion.kind": "tpavi"}),
    "tpavi, principled": ((), {"model.name": "tpavi"}),
    "tpavi, released": ((), {"model.name": "tpavi", "loss.formulas": "released", **MATCHING}),
    "agreement": (AGREEMENT, {}),
    "agreement, released": (AGREEMENT, {"loss.formulas": "released", "loss.free_bits": 0}),
    "regions": ((*AGREEMENT, "regions.yaml"), {}),
    "regions, names and sounds": (
        (*AGREEMENT, "regions.yaml"),
        {"model.fusion.bare_names": 0.5, **dict.fromkeys(CLASSES, 0.5)},
    ),
    "classes": ((), {"model.num_classes": 4, "data.name": "avss", "data.root": "."}),
    "classes, agreement": (
        AGREEMENT,
        {"model.num_classes": 4, "data.name": "avss", "data.root": "."},
    ),
    "audio encoder frozen": (
        (),
        {"model.audio.name": "vggish_small", "model.visual.frozen": False},
    ),
}


SENT = {"regions, names and sounds": Counter({"aten.lift_fresh.default": 2})}
"""Which objects and sounds are of which class: two small tables, which CUDA stages at once and does not wait for."""

ON_META = (
    "factorized, principled",
    "posterior sees pseudo masks",
    "tpavi, released",
    "regions",
    "classes, agreement",
    "audio encoder frozen",
)
"""One case of each kind also runs on the meta device, which is slower than the step itself."""


@pytest.mark.parametrize("case", CASES)
def test_a_step_does_not_wait(case: str) -> None:
    config = _config(*CASES[case])
    module = _module(config)
    batch = _batch(config)
    preprocessor = ClipPreprocessor.of(module.model)
    with counted() as found:
        module.training_step(finish(batch, preprocessor), 0).backward()
    assert found == SENT.get(case, Counter())
    if case not in ON_META:
        return
    module.to("meta")
    module.training_step(finish(batch.to("meta"), preprocessor), 0).backward()


def test_the_cases_on_the_meta_device_exist() -> None:
    assert set(ON_META) <= CASES.keys()


def test_the_count_sees_what_waits() -> None:
    values = torch.arange(6.0)
    with counted() as found:
        bool(values[values > 2].isfinite().all())
        values[values > 2] = 0
        torch.tensor([1.0])
        values.repeat_interleave(torch.tensor([1, 0, 0, 0, 0, 2]))
        values.repeat_interleave(2)
        values[torch.arange(2)]
    assert set(found) >= {
        "aten.index.Tensor",
        "aten.index_put_.default",
        "aten._local_scalar_dense.default",
        "aten.lift_fresh.default",
        "aten.repeat_interleave.Tensor",
    }
    assert found["aten.index.Tensor"] == 1


def test_the_loss_is_looked_at_when_it_is_logged() -> None:
    config = _config((), {})
    module = _module(config, step=LOG_EVERY_STEPS)
    batch = finish(_batch(config), ClipPreprocessor.of(module.model))
    with counted() as found:
        module.training_step(batch, 0)
    assert found
    assert module.logged_at == LOG_EVERY_STEPS
    assert "total" in module.logged
    with pytest.raises(RuntimeError, match="meta"):
        module.to("meta").training_step(batch.to("meta"), 0)
