"""The whole released ResNet-50 model, loaded from its own keys, against what the released code computes."""

import pytest
import reference_inputs as ref
import torch
from released_case import arrays, close, drawn, numbers, released_shapes, without_noise

from ecmvae.losses import released
from ecmvae.models import ECMVAE
from ecmvae.released_checkpoints import load_released_loss, load_released_state_dict, released_name

PARTS = {"visual": "enc_vs", "audio": "enc_as", "shared": "enc_vac"}
RECORDED = {
    "structure": 1.0,
    "posterior_structure": 1.0,
    "kl_visual": 0.01,
    "kl_audio": 0.01,
    "js_shared": 0.01,
    "mutual_information": 0.001,  # the sign under which the known total was recorded; training maximises the bound
    "orthogonality": 0.001,
    "audio_visual_matching": 0.5,
}


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return drawn(released_shapes("resnet"))


@pytest.fixture(scope="module")
def model(weights: dict[str, torch.Tensor]) -> ECMVAE:
    return load_released_state_dict(weights, "resnet50")


@pytest.fixture(scope="module")
def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return tuple(
        torch.from_numpy(each)[None] for each in (ref.images(), ref.audio_feature(), ref.masks())
    )


def test_the_form_for_prediction(model: ECMVAE, inputs: tuple[torch.Tensor, ...]) -> None:
    answer = arrays("model_resnet")
    with torch.no_grad():
        output = model(*inputs[:2], latents="mean")
    close(
        "ResNet-50 model: logits",
        output.logits[0, :, 0, ::16, ::16],
        answer["test__logits"],
        atol=1e-3,
    )
    assert output.prior is not None
    for part, name in PARTS.items():
        known = answer[f"test__z_{name.removeprefix('enc_')}"]
        close("ResNet-50 model: latents", output.prior[part].mean, known, atol=1e-4)
    assert output.posterior_logits is None


def test_the_form_for_training(
    model: ECMVAE, weights: dict[str, torch.Tensor], inputs: tuple[torch.Tensor, ...]
) -> None:
    answer, numbered = arrays("model_resnet"), numbers("model_resnet")
    loss = load_released_loss(weights)
    frames, audio, masks = inputs
    output = model(frames, audio, masks, latents="mean")
    for role, logits in (("prior", output.logits), ("post", output.posterior_logits)):
        close(
            "ResNet-50 model: logits",
            logits[0, :, 0, ::16, ::16],
            answer[f"train__logits_{role}"],
            atol=1e-3,
        )
    for side, latents in (("", output.prior), ("_y", output.posterior)):
        for part, name in PARTS.items():
            for key, ours in (("mu", "mean"), ("logvar", "logvar")):
                known = answer[f"train__{name}{side}#1.{key}"]
                close("ResNet-50 model: latents", getattr(latents[part], ours), known, atol=1e-4)

    with without_noise():
        terms = loss(output, masks).values
    known = numbered["losses"]
    kl = terms["kl_visual"] + terms["kl_audio"] + terms["js_shared"]
    first = (output.logits[:, 0], output.posterior_logits[:, 0])
    total = sum(weight * terms[name] for name, weight in RECORDED.items())
    for name, value in {
        "kl_loss": kl,
        "mi_loss": terms["mutual_information"],
        "diff_loss": terms["orthogonality"],
        "structure_ms3_prior": terms["structure"],
        "structure_ms3_post": terms["posterior_structure"],
        "structure_s4_prior": released.structure_loss(first[0], masks[:, 0]).mean(),
        "structure_s4_post": released.structure_loss(first[1], masks[:, 0]).mean(),
        "total_recorded": total,
    }.items():
        close("ResNet-50 model: losses", value.detach(), known[name], rtol=1e-4)
    close(
        "ResNet-50 model: losses",
        terms["audio_visual_matching"].detach(),
        known["sim_prior"] + known["sim_post"],
        rtol=1e-4,
    )

    total.backward()
    norms = numbered["grad_l2_by_param"]
    parameters = {
        released_name(name): each
        for name, each in (*model.named_parameters(), *loss.named_parameters())
    }
    assert parameters.keys() == norms.keys()
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        close("ResNet-50 model: gradient norms", parameter.grad.norm(), norms[name], rtol=1e-3)
