import json
import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from ecmvae import weight_files
from ecmvae.config import Config, config_from_dict
from ecmvae.errors import UserError
from ecmvae.hub.find import weights_sha256
from ecmvae.models import build_model
from ecmvae.models.base import without_weights
from ecmvae.models.checkpoint import initial_model, load_model, save_model
from ecmvae.models.skeleton import skeletons
from ecmvae.visual.normalisation import IMAGENET, Normalisation

VALUES = {
    "model": {
        "visual": {"name": "efficientnet_lite0", "weights": "package"},
        "channels": 8,
        "latent": {"dim": 4},
    },
    "data": {"image_size": 64},
}


def _config(**model: object) -> Config:
    return config_from_dict({**VALUES, "model": {**VALUES["model"], **model}})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = _config(audio={"name": "vggish_small", "frozen": False})
    model = build_model(config.model, image_size=64)
    return save_model(model, tmp_path / "run" / "best", config, {"miou": 0.5})


def test_a_model_comes_back_as_it_was(saved: Path) -> None:
    torch.manual_seed(0)
    config = _config(audio={"name": "vggish_small", "frozen": False})
    original = build_model(config.model, image_size=64).eval()
    for path in (saved, saved.parent):  # the model folder, or the run that holds it
        loaded = load_model(path)
        assert loaded.config == config
        assert not loaded.training
        frames, log_mel = torch.randn(1, 2, 3, 64, 64), torch.randn(1, 2, 1, 96, 64)
        with torch.no_grad():
            expected, got = (
                model(frames, model.encode_audio(log_mel), latents="mean").logits
                for model in (original, loaded)
            )
        assert torch.equal(got, expected)
    metadata = json.loads((saved / "metadata.json").read_text())
    assert metadata == {"miou": 0.5, "normalisation": original.normalisation.to_dict()}


def test_weights_named_in_the_config_are_not_fetched_again(tmp_path: Path) -> None:
    """The folder is enough: the audio weights it was built from may be gone."""
    torch.manual_seed(0)
    built = build_model(
        _config(audio={"name": "vggish_small", "frozen": False}).model, image_size=64
    )
    config = _config(audio={"name": "vggish_small", "weights": "gone/audio"})
    loaded = load_model(save_model(built, tmp_path / "m", config))
    assert loaded.encode_audio(torch.randn(1, 1, 1, 96, 64)).shape == (1, 1, 128)
    assert not any(p.requires_grad for p in loaded.audio_encoder.parameters())


def test_a_checkpoint_of_another_config_is_named(saved: Path) -> None:
    text = (saved / "config.yaml").read_text().replace("channels: 8", "channels: 16")
    (saved / "config.yaml").write_text(text)
    with pytest.raises(UserError, match="checkpoint of another config") as raised:
        load_model(saved)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("setting", ["channels: 8", "dim: 4", "image_size: 64"])
def test_a_config_larger_than_its_weights_costs_no_memory(saved: Path, setting: str) -> None:
    key = setting.partition(":")[0]
    text = (saved / "config.yaml").read_text()
    (saved / "config.yaml").write_text(text.replace(f" {setting}\n", f" {key}: 4096\n"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="checkpoint of another config"):
        load_model(saved)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, (
        "kB; 4096 channels need gigabytes"
    )
    (saved / "config.yaml").write_text(text.replace(f" {setting}\n", f" {key}: 1000000000\n"))
    with pytest.raises(UserError, match=rf"{key} must be from \d+ to 4096, got 1000000000"):
        load_model(saved)


def test_a_skeleton_has_the_shapes_of_its_network_and_draws_no_random_number() -> None:
    config = _config(audio={"name": "vggish_small", "frozen": False}).model
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with skeletons():
        skeleton = build_model(without_weights(config), image_size=64)
    assert torch.equal(torch.get_rng_state(), before)
    network = build_model(config, image_size=64)
    shapes, wanted = (
        {k: v.shape for k, v in model.state_dict().items()} for model in (skeleton, network)
    )
    assert shapes == wanted
    assert all(tensor.is_meta for tensor in skeleton.state_dict().values())


def test_a_model_keeps_the_normalisation_it_was_trained_with(tmp_path: Path) -> None:
    own = Normalisation(mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.125))
    config = _config()
    model = build_model(config.model, image_size=64)
    model.normalisation = own
    folder = save_model(model, tmp_path / "m", config)
    assert load_model(folder).normalisation == own
    assert initial_model(_starting(folder)).normalisation == own
    # as folders were before normalisations were saved
    (folder / "metadata.json").write_text('{"miou": 0.5}')
    assert load_model(folder).normalisation == IMAGENET
    (folder / "metadata.json").write_text('{"normalisation": {"mean": [0.5]}}')
    with pytest.raises(UserError, match="cannot read a normalisation"):
        load_model(folder)


def test_code_that_a_model_folder_names_runs_only_when_trusted(saved: Path, tmp_path: Path) -> None:
    weights = (saved / "config.yaml").read_text()
    (saved / "config.yaml").write_text(
        weights.replace("extra: {}", "extra: {no_such_module:Term: 0.1}")
    )
    with pytest.raises(
        UserError, match=r"names code by import path \(no_such_module:Term\): pass trust_code"
    ) as raised:
        load_model(saved)
    assert "\n" not in str(raised.value)
    assert load_model(saved, trust_code=True).config.loss.extra == {"no_such_module:Term": 0.1}
    with pytest.raises(UserError, match="names code that this run does not: no_such_module:Term"):
        initial_model(_starting(saved))


def test_a_model_folder_names_no_other_files_to_read(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("train: {epochs: 77}")
    config = saved / "config.yaml"
    config.write_text(f"base: {tmp_path / 'secret.yaml'}\n{config.read_text()}")
    with pytest.raises(UserError, match="unknown config key 'base'"):
        load_model(saved)


def test_damaged_and_missing_folders(saved: Path, tmp_path: Path) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="is damaged"):
        load_model(saved)
    with pytest.raises(UserError, match="checkpoint not found"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is not a model folder"):
        load_model(tmp_path)


def test_saving_replaces_models_only(saved: Path, tmp_path: Path) -> None:
    before = weights_sha256(saved)
    torch.manual_seed(1)
    config = _config()
    model = build_model(config.model, image_size=64)
    save_model(model, saved, config)
    assert weights_sha256(saved) != before
    assert sorted(each.name for each in saved.iterdir()) == [
        "config.yaml",
        "metadata.json",
        "model.safetensors",
    ]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("dear")
    with pytest.raises(UserError, match="is not a model folder: choose"):
        save_model(model, tmp_path / "thesis", config)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "dear"


def test_a_failed_save_leaves_the_old_model(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = weights_sha256(saved)
    config = _config()
    monkeypatch.setattr(Config, "to_yaml", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_model(build_model(config.model, image_size=64), saved, config)
    assert weights_sha256(saved) == before
    assert [each.name for each in saved.parent.iterdir()] == ["best"]


def test_a_full_disk_is_an_os_error_and_leaves_the_old_model(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    before, config = weights_sha256(saved), _config()
    monkeypatch.setattr(weight_files, "save_file", full)
    with pytest.raises(OSError, match=r"safetensors cannot be written: .*No space left on device"):
        save_model(build_model(config.model, image_size=64), saved, config)
    assert weights_sha256(saved) == before
    assert [each.name for each in saved.parent.iterdir()] == ["best"]


def test_the_old_model_comes_back_when_the_new_one_cannot_take_its_place(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.replace

    def stubborn(self: Path, target: Path) -> Path:
        if target == saved and not self.name.endswith(".old"):
            raise PermissionError("no")
        return rename(self, target)

    before, config = weights_sha256(saved), _config()
    monkeypatch.setattr(Path, "replace", stubborn)
    with pytest.raises(PermissionError):
        save_model(build_model(config.model, image_size=64), saved, config)
    assert weights_sha256(saved) == before
    assert [each.name for each in saved.parent.iterdir()] == ["best"]


def _starting(folder: Path, **model: object) -> Config:
    config = _config(**{"audio": {"name": "vggish_small"}, **model})
    return replace(config, train=replace(config.train, initial_checkpoint=str(folder)))


def test_a_run_starts_with_every_weight_of_the_trained_model(saved: Path) -> None:
    torch.manual_seed(1)  # other random weights than the fixture's
    model = initial_model(_starting(saved, latent={"dim": 4, "shared_divergence": "kl"}))
    expected = load_model(saved).state_dict()
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert model.training
    assert not any(each.requires_grad for each in model.audio_encoder.parameters()), (
        "frozen is the new run's choice"
    )


def test_a_trained_model_without_ears_takes_those_of_the_run(saved: Path, tmp_path: Path) -> None:
    config = _config(audio={"name": "vggish_small"})
    deaf = save_model(build_model(config.model, image_size=64), tmp_path / "deaf", config)
    model = initial_model(_starting(deaf, audio={"name": "vggish_small", "frozen": False}))
    assert model.audio_encoder is not None
    expected = load_model(deaf).state_dict()
    assert all(torch.equal(model.state_dict()[name], value) for name, value in expected.items())


def test_a_run_cannot_start_with_another_network(saved: Path) -> None:
    with pytest.raises(
        UserError, match=r"another network \(model.latent.dim is 4 there and 8 here\)"
    ):
        initial_model(_starting(saved, latent={"dim": 8}))
    with pytest.raises(UserError, match="checkpoint not found"):
        initial_model(_starting(saved / "nowhere"))


def _keeping(folder: Path, *parts: str) -> Config:
    config = _starting(folder, latent={"kind": "agreement", "dim": 6})
    return replace(config, train=replace(config.train, frozen_parts=list(parts)))


def test_some_parts_are_taken_and_stay_as_they_are_the_rest_may_be_another_network(
    saved: Path,
) -> None:
    torch.manual_seed(1)
    model = initial_model(_keeping(saved, "backbone.network", "audio_encoder"))
    expected = load_model(saved).state_dict()
    assert model.agreement is not None  # not the trained one's latents
    for name, parameter in model.named_parameters():
        kept = name.startswith(("backbone.network.", "audio_encoder."))
        assert parameter.requires_grad != kept
        assert not kept or torch.equal(parameter, expected[name])
    model.train()
    assert model.agreement.training
    assert not model.audio_encoder.training  # statistics of its normalisations are fixed, too


def test_parts_that_cannot_be_taken_are_named(saved: Path) -> None:
    with pytest.raises(UserError, match=r"train.frozen_parts: the network has no agreement.ears"):
        initial_model(_keeping(saved, "agreement.ears"))
    with pytest.raises(UserError, match=r"train.frozen_parts: agreement.answer is another in"):
        initial_model(_keeping(saved, "agreement.answer"))
    config = _keeping(saved, "backbone")
    alone = replace(config, train=replace(config.train, initial_checkpoint=None))
    with pytest.raises(UserError, match=r"are taken from train.initial_checkpoint"):
        initial_model(alone)
