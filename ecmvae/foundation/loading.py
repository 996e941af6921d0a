"""Read a network of transformers from a folder of the hub: never its pickles, never its code, never the network.

What a network is made of (its `architecture`) comes from the folder's config.json and goes into the metadata of the
model folders of ecmvae, so that a trained model is rebuilt without the original.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch

from ecmvae.errors import UserError
from ecmvae.foreign_text import cut, read_json, short
from ecmvae.hub.catalogue import CONFIG, weights_folder

Wrapper = TypeVar("Wrapper", bound="TransformersNetwork")

PREPROCESSOR = "preprocessor_config.json"

_FOREIGN = (
    "auto_map",
    "attn_implementation",
    "quantization_config",
    "dtype",
    "torch_dtype",
    "transformers_version",
)
"""Keys of a configuration that could load code or change the arithmetic."""


@dataclass(frozen=True)
class Loaded:
    """A network and where it is from.

    Attributes:
        network: The module, in eval mode.
        architecture: The JSON that rebuilds it: ``network`` (its configuration) and ``preprocessor``.
        folder: Where its weights are from; None for random ones.
    """

    network: Any
    architecture: dict[str, Any]
    folder: Path | None

    @property
    def preprocessor(self) -> Mapping[str, Any]:
        """What preprocessor_config.json says; empty without one."""
        found: Mapping[str, Any] = self.architecture["preprocessor"]
        return found


def load_network(
    network: type[Any],
    *,
    kinds: Sequence[str],
    default: str,
    weights: str | None = None,
    pretrained: bool = True,
    architecture: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    section: str | None = None,
) -> Loaded:
    """Build a network of transformers.

    Args:
        network: Its class.
        kinds: Values of ``model_type`` in config.json that it can read.
        default: Name in the catalogue that `weights` = None stands for.
        weights: A folder, a name of the catalogue, or ``hf://owner/name[@revision]`` in the hub's cache.
        pretrained: False: random weights, and the architecture of `weights`, or of transformers' defaults without them.
        architecture: What `Loaded.architecture` was; then the weights are random, to be filled in by the caller.
        settings: Settings of the configuration that the caller needs otherwise.
        section: Key in config.json of the part that is the network's configuration; None = all of it.

    Raises:
        UserError: If the weights are not available, are another network's, or do not fill the network.
    """
    chosen = weights or default
    if architecture is not None:
        return _random(network, architecture, settings, "the model's metadata")
    if not pretrained and weights is None:
        return _random(network, {}, settings, f"{network.__name__}'s defaults")
    folder = weights_folder(chosen)
    values = _mapping(folder / CONFIG)
    if (kind := values.get("model_type")) not in kinds:
        raise UserError(
            f"{chosen} does not fit: it is a {short(kind)}, needed is {' or '.join(kinds)}"
        )
    part = values if section is None else values.get(section)
    found = {"network": _clean(part or {}), "preprocessor": _preprocessor(folder)}
    if not pretrained:
        return _random(network, found, settings, str(folder / CONFIG))
    config = _configuration(network, found["network"], settings, str(folder / CONFIG))
    with _quiet():
        try:
            module, report = network.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # they are in the report, and refused below
                output_loading_info=True,
            )
        except Exception as error:  # a file of a stranger fails in many ways
            raise UserError(
                f"{chosen} cannot be read ({cut(str(error)) or type(error).__name__}): fetch it again"
            ) from error
    lacking = sorted(report["missing_keys"])
    odd = sorted(
        str(each[0] if isinstance(each, tuple) else each) for each in report["mismatched_keys"]
    )
    if lacking or odd:
        faults = [
            f"{len(keys)} {what} ({keys[0]})"
            for keys, what in ((lacking, "missing"), (odd, "of another shape"))
            if keys
        ]
        raise UserError(
            f"{chosen} does not fit {network.__name__}: tensors are {' and '.join(faults)}"
        )
    return Loaded(module.eval(), found, folder)


class TransformersNetwork:
    """What wraps a network of transformers: its weights' names, and how it is built from them; for modules.

    Attributes:
        network: The module.
        architecture: See `Loaded.architecture`.
        folder: Where its weights are from; None for random ones.
    """

    model: ClassVar[str]
    """Name of the network's class in transformers."""
    kinds: ClassVar[tuple[str, ...]]
    """What config.json calls it."""
    default: ClassVar[str]
    """Name in the catalogue of the weights that are taken where none are named."""

    network: Any
    architecture: dict[str, Any]
    folder: Path | None

    @classmethod
    def from_weights(
        cls: type[Wrapper],
        weights: str | None = None,
        *,
        pretrained: bool = True,
        architecture: Mapping[str, Any] | None = None,
    ) -> Wrapper:
        """Read the network and wrap it; arguments and errors as of `load_network`."""
        return cls(cls.load(weights, pretrained, architecture))  # type: ignore[call-arg]  # of the module

    @classmethod
    def load(
        cls, weights: str | None, pretrained: bool, architecture: Mapping[str, Any] | None
    ) -> Loaded:
        """The network alone; arguments and errors as of `load_network`."""
        import transformers

        return load_network(
            getattr(transformers, cls.model),
            kinds=cls.kinds,
            default=cls.default,
            weights=weights,
            pretrained=pretrained,
            architecture=architecture,
        )

    def keep(self, loaded: Loaded) -> None:
        """Set `network`, `architecture` and `folder`, once the module is initialised."""
        self.network, self.architecture = loaded.network, loaded.architecture
        self.folder = loaded.folder


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model's folder.

    Raises:
        UserError: If the folder has none that can be read without running its code.
    """
    from transformers import AutoTokenizer

    with _quiet():
        try:
            return AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # a file of a stranger fails in many ways
            raise UserError(
                f"{folder} holds no tokenizer that can be read ({cut(str(error))}): fetch it again"
            ) from error


def _random(
    network: type[Any], found: Mapping[str, Any], settings: Mapping[str, Any] | None, where: str
) -> Loaded:
    config = _configuration(network, found.get("network", {}), settings, where)
    about = {
        "network": _clean(config.to_dict()),
        "preprocessor": dict(found.get("preprocessor", {})),
    }
    with _quiet():
        try:
            return Loaded(network(config).eval(), about, None)
        except Exception as error:  # sizes that do not go together
            raise UserError(
                f"{where} does not describe a {network.__name__}: {cut(str(error))}"
            ) from error


def _configuration(
    network: type[Any], values: Mapping[str, Any], settings: Mapping[str, Any] | None, where: str
) -> Any:
    kind = network.config_class
    given = {
        key: value
        for key, value in _clean(values).items()
        if key not in ("model_type", *(settings or {}))
    }
    with _quiet():
        try:
            return kind.from_dict({**given, **(settings or {})})
        except Exception as error:  # types and sizes that transformers refuses in its own ways
            raise UserError(
                f"{where} is not a usable configuration of {network.__name__}: {cut(str(error))}"
            ) from error


def number(
    values: Mapping[str, Any], key: str, default: int | float, low: int | float, high: int | float
) -> float:
    """A number that a file of a stranger gives, or the default.

    Raises:
        UserError: If it is not a number from `low` to `high`.
    """
    found = values.get(key, default)
    if isinstance(found, bool) or not isinstance(found, int | float) or not low <= found <= high:
        raise UserError(
            f"{PREPROCESSOR} says {short(found)} for {key}: needed is a number from {low:g} to {high:g}"
        )
    return float(found)


def _clean(values: Any) -> Any:
    """A configuration without the keys that ecmvae leaves out, at every depth."""
    if isinstance(values, Mapping):
        return {
            k: _clean(v)
            for k, v in values.items()
            if not str(k).startswith("_") and k not in _FOREIGN
        }
    return [_clean(each) for each in values] if isinstance(values, list | tuple) else values


def _preprocessor(folder: Path) -> dict[str, Any]:
    path = folder / PREPROCESSOR
    return _clean(_mapping(path)) if path.is_file() else {}


def _mapping(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"{path} must hold a mapping, not {short(found)}: fetch the model again")
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' tables and bars: what matters of them is raised."""
    import transformers

    theirs: Any = transformers.utils.logging
    logger, bars = logging.getLogger("transformers"), theirs.is_progress_bar_enabled()
    level = logger.level
    logger.setLevel(logging.ERROR)
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            theirs.enable_progress_bar()
