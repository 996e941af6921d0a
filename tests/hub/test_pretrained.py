"""from_pretrained, save_pretrained and push_to_hub keep a model's answers, its card and its secrets."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fake_hub import FakeHub, serving
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from ecmvae.config import Config, config_from_dict
from ecmvae.errors import UserError
from ecmvae.models import ECMVAE, build_model
from ecmvae.models.checkpoint import load_model

CONFIG = config_from_dict(
    {
        "model": {
            "visual": {"name": "efficientnet_lite0"},
            "audio": {"name": "vggish_small", "frozen": False},
            "channels": 8,
            "latent": {"dim": 2},
        },
        "data": {"image_size": 32},
    }
)


@pytest.fixture(scope="module")
def model() -> ECMVAE:
    torch.manual_seed(3)
    return build_model(CONFIG.model, image_size=32).eval()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with serving(monkeypatch, tmp_path / "cache") as hub:
        yield hub


def answer(model: ECMVAE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(1, 2, 3, 32, 32, generator=generator)
    log_mel = torch.randn(1, 2, 1, 96, 64, generator=generator)
    with torch.no_grad():
        return model(frames, model.encode_audio(log_mel), latents="mean").logits


def test_saved_and_loaded_by_path(model: ECMVAE, tmp_path: Path) -> None:
    folder = model.save_pretrained(tmp_path / "mine", config=CONFIG)
    again = ECMVAE.from_pretrained(folder)
    assert torch.equal(answer(again), answer(model))
    assert not again.training
    assert again.config == CONFIG
    card = ModelCard.load(folder / "README.md")  # the hub's own reader
    assert card.data.library_name == "ecmvae"
    assert 'VideoPredictor("' + str(folder) in card.text

    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    again.save_pretrained(folder)  # its own config; a card that somebody wrote stays
    assert (folder / "README.md").read_text().endswith("# Mine\n")


def test_16_bits_on_disk_are_32_in_memory(model: ECMVAE, tmp_path: Path) -> None:
    full, half = (
        model.save_pretrained(tmp_path / str(bits), config=CONFIG, half=bits == 16)
        for bits in (32, 16)
    )
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (full, half)]
    assert 0.5 < sizes[1] / sizes[0] < 0.52
    stored, loaded = (
        load_file(half / "model.safetensors"),
        ECMVAE.from_pretrained(half).state_dict(),
    )
    for name, tensor in model.state_dict().items():
        assert loaded[name].dtype == tensor.dtype
        if tensor.is_floating_point():
            assert stored[name].dtype == torch.float16
            assert torch.equal(loaded[name], tensor.half().float())
        else:
            assert torch.equal(stored[name], tensor)


def test_numbers_too_large_for_16_bits_are_refused(tmp_path: Path) -> None:
    model = build_model(CONFIG.model, image_size=32)
    with torch.no_grad():
        model.prior_branch.decoder.get_parameter(
            next(iter(model.prior_branch.decoder.state_dict()))
        ).fill_(1e5)
    with pytest.raises(
        UserError, match=r"1 tensors hold numbers too large for 16 bits \(prior_branch"
    ):
        model.save_pretrained(tmp_path / "m", config=CONFIG, half=True)
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_its_config_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give save_pretrained the config"):
        build_model(CONFIG.model, image_size=32).save_pretrained(tmp_path / "m")


def test_pushed_and_loaded_from_the_hub(model: ECMVAE, hub: FakeHub) -> None:
    model.push_to_hub("someone/mine", config=CONFIG, half=True, token="hf_none")
    assert sorted(hub.files["someone/mine"]) == [
        "README.md",
        "config.yaml",
        "metadata.json",
        "model.safetensors",
    ]
    assert b'VideoPredictor("hf://someone/mine")' in hub.files["someone/mine"]["README.md"]
    first = ECMVAE.from_pretrained("someone/mine")
    assert torch.allclose(answer(first), answer(model), atol=0.05)
    hub.requests.clear()
    again = ECMVAE.from_pretrained("someone/mine", local_files_only=True)
    assert torch.equal(answer(again), answer(load_model("hf://someone/mine")))
    with pytest.raises(UserError, match="hub has no hf://someone/yours"):
        ECMVAE.from_pretrained("someone/yours")

    hub.files["someone/mine"]["README.md"] = b"what a person wrote"
    model.push_to_hub("someone/mine", config=CONFIG, token="hf_none")
    assert hub.files["someone/mine"]["README.md"] == b"what a person wrote"
    model.push_to_hub("someone/mine", config=CONFIG, card="a new one", token="hf_none")
    assert hub.files["someone/mine"]["README.md"] == b"a new one"


def test_no_network_for_a_path(model: ECMVAE, hub: FakeHub, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "runs" / "mine", config=CONFIG)
    ECMVAE.from_pretrained(tmp_path / "runs" / "mine")
    for wrong in ("runs/mime", str(tmp_path / "runs" / "mime"), "mine"):
        with pytest.raises(UserError, match="checkpoint not found"):
            load_model(wrong)
    with pytest.raises(UserError, match="has no effect"):
        ECMVAE.from_pretrained(tmp_path / "runs" / "mine", revision="v2")
    assert hub.requests == []


def test_a_model_of_another_kind_is_refused(model: ECMVAE, tmp_path: Path) -> None:
    class Other(ECMVAE):
        """A baseline."""

    folder = model.save_pretrained(
        tmp_path / "m", config=Config(model=CONFIG.model, data=CONFIG.data)
    )
    with pytest.raises(UserError, match=r"is a ECMVAE, not a Other: use ecmvae\.load_model"):
        Other.from_pretrained(folder)
