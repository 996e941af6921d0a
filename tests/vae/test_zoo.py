"""Every named model builds, learns from a step, and refuses settings that it ignores."""

from typing import get_args

import pytest
import torch

from ecmvae.vae.multimodal import MultimodalVAE
from ecmvae.vae.zoo import MODELS, ModelName, ModelSettings, batch_for, build_vae, codes_of

SHAPES = {
    "keras_autoencoder": (1, 32, 32),
    "keras_vae": (1, 32, 32),
    "face_vae": (3, 32, 32),
    "face_autoencoder": (3, 32, 32),
}


@pytest.mark.parametrize("name", get_args(ModelName))
def test_every_model_learns_from_a_step(name):
    shape = SHAPES.get(name, (1, 8, 8))
    model = build_vae(ModelSettings(name=name, latent_dim=4), shape)
    images, labels = torch.rand(6, *shape), torch.arange(6)
    batch = batch_for(model, images, labels)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    before = [p.clone() for p in model.parameters()]
    # a flow is the identity at first, and its inner layers have a gradient from the second step on
    for _ in range(2):
        optimizer.zero_grad()
        output = model(batch) if isinstance(model, MultimodalVAE) else model(**batch)
        output.loss.backward()
        optimizer.step()
    assert output.named()["loss"].item() == output.loss.item()
    assert (
        sum(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
        >= len(before) - 2
    )
    assert codes_of(model.eval(), batch).shape[0] == 6


@pytest.mark.parametrize(
    "name", [n for n in get_args(ModelName) if n.startswith(("jm", "mv", "mm", "mo", "dm"))]
)
def test_every_family_learns_from_five_images(name):
    model = build_vae(ModelSettings(name=name, latent_dim=4, hidden=16), (5, 3, 4, 4))
    batch = batch_for(model, torch.rand(6, 5, 3, 4, 4), torch.arange(6))
    assert list(batch) == list(model.names) == [f"image_{number}" for number in range(5)]
    model(batch).loss.backward()
    assert all(p.grad is not None for p in model.decoders.parameters())
    generated = model.generate({k: batch[k] for k in ("image_1", "image_3")}, model.names)
    assert {image.shape for image in generated.values()} == {(6, 3, 4, 4)}
    assert codes_of(model.eval(), batch).shape == (6, 4)


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        ({"name": "autoencoder", "beta": 4.0}, (1, 8, 8), "beta has no effect on autoencoder"),
        ({"name": "vae", "noise_std": 0.1}, (1, 8, 8), "noise_std has no effect on vae"),
        ({"name": "mvae", "private_dim": 7}, (1, 8, 8), "private_dim has no effect on mvae"),
        ({"name": "keras_vae"}, (1, 28, 28), "pad_to: 32"),
        ({"name": "face_vae"}, (1, 32, 32), "RGB"),
        (
            {"name": "vae"},
            (5, 3, 8, 8),
            "vae sees one image a sample, not 5: choose from jmvae, mvae",
        ),
        ({"name": "mvae", "label_weight": 3.0}, (5, 3, 8, 8), "label_weight has no effect on mvae"),
        ({"name": "mvae", "free_bits": 0.1}, (1, 8, 8), "free_bits has no effect on mvae"),
        ({"name": "vae", "tc_weight": 2.0}, (1, 8, 8), "tc_weight has no effect on vae"),
        ({"name": "iaf_vae", "prior": "vamp"}, (1, 8, 8), "one encoder"),
        ({"name": "ladder_vae", "levels": 9}, (1, 8, 8), "between 1 and 8"),
        ({"name": "wae", "mmd_weight": -1.0}, (1, 8, 8), "mmd_weight must be >= 0"),
        ({"name": "vae", "network": "conv"}, (1, 7, 7), "even size"),
    ],
)
def test_settings_without_effect_are_refused(settings, shape, message):
    with pytest.raises(ValueError, match=message):
        build_vae(ModelSettings(**settings), shape)


def test_one_hot_classes_go_where_a_model_wants_them():
    images, labels = torch.rand(3, 1, 8, 8), torch.tensor([2, 0, 9])
    conditional = batch_for(
        build_vae(ModelSettings(name="conditional_vae"), (1, 8, 8)), images, labels
    )
    multimodal = batch_for(build_vae(ModelSettings(name="mvae"), (1, 8, 8)), images, labels)
    assert (
        conditional["y"].argmax(1).tolist() == multimodal["label"].argmax(1).tolist() == [2, 0, 9]
    )


SINGLE = [
    name for name in get_args(ModelName) if not name.startswith(("jm", "mv", "mm", "mo", "dm"))
]


@pytest.mark.parametrize("name", SINGLE)
def test_one_picture_is_scored_in_eval_mode(name):
    shape = SHAPES.get(name, (1, 8, 8))
    model = build_vae(ModelSettings(name=name, latent_dim=4), shape).eval()
    output = model(**batch_for(model, torch.rand(1, *shape), torch.tensor([3])))
    assert torch.isfinite(output.loss)
    assert output.log_likelihood.shape == (1,)


@pytest.mark.parametrize("name", SINGLE)
def test_a_model_without_memory_has_the_shapes_of_a_real_one(name):
    """Loading a foreign model builds it on the meta device first."""
    settings, shape = ModelSettings(name=name, latent_dim=4), SHAPES.get(name, (1, 8, 8))
    with torch.device("meta"):
        shapes = {
            key: value.shape for key, value in build_vae(settings, shape).state_dict().items()
        }
    assert shapes == {
        key: value.shape for key, value in build_vae(settings, shape).state_dict().items()
    }


CONVOLUTIONAL = [name for name in get_args(ModelName) if "network" in MODELS[name][0].split()]


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_convolutions_take_the_place_of_the_fully_connected_layers(name):
    model = build_vae(
        ModelSettings(name=name, latent_dim=3, network="conv", hidden=16), (3, 16, 16)
    )
    images = torch.rand(5, 3, 16, 16)
    model(images).loss.backward()
    assert model.reconstruct(images).shape == images.shape
    kinds = {type(module).__name__ for module in model.modules()}
    assert {"ConvEncoder", "ConvDecoder"} <= kinds


def test_a_ladders_levels_double_in_width_towards_the_data():
    model = build_vae(
        ModelSettings(name="ladder_vae", latent_dim=3, hidden=16, levels=3), (1, 8, 8)
    )
    latents = model.posterior_latents(torch.rand(2, 1, 8, 8), None)
    assert {name: q.mode.shape[1] for name, q in latents.items()} == {"z3": 3, "z2": 6, "z1": 12}


def test_models_without_a_new_regulariser_are_the_plain_vae():
    """tc_weight 1, tc_weight 0 in eval mode, alpha 0 with mmd_weight 1: the loss is the VAE's."""
    images = torch.rand(6, 1, 8, 8)
    for name, settings in (
        ("beta_tc_vae", {"tc_weight": 1.0}),
        ("factor_vae", {"tc_weight": 0.0}),
        ("info_vae", {"mmd_weight": 1.0}),
    ):
        torch.manual_seed(0)
        model = build_vae(ModelSettings(name=name, latent_dim=4, **settings), (1, 8, 8)).eval()
        torch.manual_seed(0)
        plain = build_vae(ModelSettings(latent_dim=4), (1, 8, 8)).eval()
        assert torch.equal(model.encode(images).mean, plain.encode(images).mean)
        assert model(images, "mean").loss.item() == pytest.approx(
            plain(images, "mean").loss.item(), rel=1e-6
        )
