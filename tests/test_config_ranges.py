"""Every range belongs to a knob that exists, holds its default, and is kept at both ends."""

from typing import Any

import pytest

from ecmvae.config import Config, load_config
from ecmvae.config_ranges import RANGES
from ecmvae.config_reader import by_dotted_name
from ecmvae.errors import UserError

EACH = [
    (f"{section}.{key}", low, high)
    for section, keys in RANGES.items()
    for key, (low, high) in keys.items()
]


def test_defaults_lie_in_their_ranges() -> None:
    defaults: dict[str, Any] = by_dotted_name(Config().to_dict())
    for name, low, high in EACH:
        assert defaults[name] is None or low <= defaults[name] <= high, name


@pytest.mark.parametrize(("name", "low", "high"), EACH, ids=lambda value: str(value))
def test_beyond_either_end_is_refused_by_name(name: str, low: float, high: float) -> None:
    for beyond in (low - 1, high + 1):
        with pytest.raises(UserError, match=rf"{name.rpartition('.')[2]}\b.*{beyond}"):
            load_config([], {name: beyond})
