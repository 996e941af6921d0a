"""Released checkpoints in all their spellings, and what is refused."""

import json
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from plain_networks import avsbench_shapes
from released_case import drawn, released_shapes

from ecmvae.audio.vggish import VGGish, VGGishPostprocessor
from ecmvae.cli import main
from ecmvae.config import config_from_dict
from ecmvae.conversion import with_audio_encoder
from ecmvae.errors import UserError
from ecmvae.losses.objective import Objective
from ecmvae.models import ECMVAE, TPAVIBaseline, build_model
from ecmvae.models.checkpoint import load_model
from ecmvae.released_checkpoints import (
    load_released_loss,
    load_released_state_dict,
    released_config,
    released_name,
    released_tensors,
    to_timm_names,
)
from ecmvae.visual.backbone import VisualBackbone

State = dict[str, torch.Tensor]
DECODER, SIMPLE = "fusion_block_", "short_connect_with_decode_module."


@pytest.fixture(scope="module")
def resnet() -> State:
    return drawn(released_shapes("resnet"))


@pytest.fixture(scope="module")
def model(resnet: State) -> ECMVAE:
    return load_released_state_dict(resnet, "resnet50")


def _hollow(name: str) -> State:
    """Keys and shapes alone."""
    return {key: torch.empty(shape, device="meta") for key, shape in released_shapes(name).items()}


def _swin() -> State:
    """The released Swin encoder in place of the PVT of a whole model."""
    rest = {key: value for key, value in _hollow("pvt").items() if not key.startswith("encoder.")}
    widths = {"0": 128, "1": 256, "2": 512, "3": 1024}
    for key, value in rest.items():
        if ".reduce.0.conv." in key:
            rest[key] = torch.empty((128, widths[key.split(".")[2]], 1, 1), device="meta")
        assert value.device.type == "meta"
    return rest | {f"encoder.{key}": value for key, value in _hollow("swin_encoder_only").items()}


@pytest.mark.parametrize(
    ("hollow", "backbone"),
    [
        (lambda: _hollow("resnet"), "resnet50"),
        (lambda: _hollow("resnet_aspp"), "resnet50"),
        (lambda: _hollow("pvt"), "pvt_v2_b5"),
        (_swin, "swin_b"),
    ],
    ids=["resnet", "resnet_aspp", "pvt", "swin"],
)
def test_every_released_key_has_its_place(hollow: Callable[[], State], backbone: str) -> None:
    """The table, held against the key lists of the released models: nothing is left over on either side."""
    state = released_tensors(hollow())
    config = released_config(state, backbone, "the list")
    with torch.device("meta"):
        model = build_model(config.model, with_audio_encoder=False)
        loss = Objective.from_config(config)
    ours = {
        released_name(name): tensor.shape
        for name, tensor in {**model.state_dict(), **loss.state_dict()}.items()
    }
    assert ours == {name: tensor.shape for name, tensor in state.items()}


def test_other_spellings_are_the_same_model(resnet: State, model: ECMVAE) -> None:
    def spelled(name: str) -> str:
        for block in range(4):
            name = name.replace(f"{DECODER}{block + 1}.", f"{SIMPLE}{block}.")
        return f"module.{name}"

    other = load_released_state_dict(
        {spelled(name): tensor for name, tensor in resnet.items()}, "resnet50"
    )
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    )


def test_every_tensor_comes_from_its_place(resnet: State, model: ECMVAE) -> None:
    ours = {**model.state_dict(), **load_released_loss(resnet).state_dict()}
    placed = {released_name(name): tensor for name, tensor in ours.items()}
    # TPAVI's linear maps are 1x1x1 convolutions there.
    assert all(
        torch.equal(tensor, resnet[name].reshape(tensor.shape)) for name, tensor in placed.items()
    )
    gone = resnet.keys() - placed.keys()
    assert all(
        name.startswith("audio_neck.") or ".fusion_block_1.resConfUnit1." in name for name in gone
    )
    assert len(gone) == 2 + 2 * 12


def test_a_file_for_inference_gets_a_posterior_of_copies(resnet: State, model: ECMVAE) -> None:
    marks = ("_post", "_y.", "posterior", "audio_neck", "ba_lower_bound")
    half = {
        name: tensor for name, tensor in resnet.items() if not any(mark in name for mark in marks)
    }
    other = load_released_state_dict(half, "resnet50")
    same = [*(("prior_branch", name) for name in model.prior_branch.state_dict())]
    assert all(
        torch.equal(other.state_dict()[".".join(n)], model.state_dict()[".".join(n)]) for n in same
    )
    prior, posterior = other.prior_branch.state_dict(), other.posterior_branch.state_dict()
    for part in ("neck", "decoder", "latent_fusion", "injection", "latent_encoder.visual.head"):
        assert all(
            torch.equal(prior[name], posterior[name]) for name in prior if name.startswith(part)
        )
    with pytest.raises(UserError, match=r"missing: .*ba_lower_bound"):
        load_released_loss(half)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda s: s.pop("mm_vae_model.enc_vs.fc1.weight"),
            r"1 missing: mm_vae_model.enc_vs.fc1.weight$",
        ),
        (lambda s: s.update({"encoder.odd": torch.zeros(1)}), r"1 unexpected: encoder.odd$"),
        (
            lambda s: s.update(
                {"neck_prior.conv_list.0.reduce.0.conv.weight": torch.zeros(128, 64, 1, 1)}
            ),
            r"1 wrong shape: neck_prior\S+ \(128, 64, 1, 1\) instead of \(128, 256, 1, 1\)$",
        ),
        (
            lambda s: s.pop("mm_vae_model.sc1_posterior.bias"),
            r"1 missing: mm_vae_model.sc1_posterior.bias$",
        ),
        (
            lambda s: s.pop("mm_vae_model.sc1_prior.weight"),
            "is not a released checkpoint of ECMVAE or TPAVI",
        ),
        (lambda s: s.update({"epoch": 3}), "no named tensor at epoch"),
    ],
)
def test_what_does_not_fit_is_named(
    resnet: State, spoil: Callable[[State], object], message: str
) -> None:
    state = dict(resnet)
    spoil(state)
    with pytest.raises(UserError, match=message):
        load_released_state_dict(state, "resnet50")


def test_a_checkpoint_of_another_backbone_is_refused() -> None:
    with pytest.raises(UserError, match=r"missing: encoder\..*unexpected: encoder\."):
        load_released_state_dict(_hollow("resnet"), "swin_b")
    with pytest.raises(UserError, match="choose from resnet50, pvt_v2_b5, swin_b"):
        load_released_state_dict(_hollow("resnet"), "vgg")


def _tpavi(backbone: str) -> State:
    """Keys and shapes of AVSBench's checkpoint alone; its values are under test in tests/reference."""
    name = "pvt" if backbone == "pvt_v2_b5" else "resnet"
    encoder = {
        key[8:]: shape for key, shape in released_shapes(name).items() if key.startswith("encoder.")
    }
    return {
        key: torch.empty(shape, device="meta")
        for key, shape in avsbench_shapes(backbone, encoder).items()
    }


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda s: s.pop("tpavi_b2.align_channel.bias"),
            r"1 missing: tpavi_b2\.align_channel\.bias$",
        ),
        (
            lambda s: s.pop("resnet.layer4_1.2.conv3.weight"),
            r"1 missing: resnet\.layer4\.2\.conv3\.weight$",
        ),
        (lambda s: s.update({"path1.odd": torch.zeros(1)}), r"1 unexpected: path1\.odd$"),
        (
            lambda s: s.update(
                {"output_conv.4.weight": torch.zeros(71, 32, 1, 1)}
            ),  # its bias has 1
            r"1 wrong shape: output_conv\.4\.bias \(1,\) instead of \(71,\)$",
        ),
        (
            lambda s: s.update({"conv3.conv2d_list.1.bias": torch.zeros(128)}),
            "1 wrong shape: conv3",
        ),
    ],
)
def test_what_does_not_fit_a_tpavi_is_named(spoil: Callable[[State], object], message: str) -> None:
    state = _tpavi("resnet50")
    spoil(state)
    with pytest.raises(UserError, match=message):
        load_released_state_dict(state, "resnet50")


def test_a_tpavi_of_another_backbone_is_refused() -> None:
    config = released_config(released_tensors(_tpavi("pvt_v2_b5")), "pvt_v2_b5", "the list")
    assert (config.model.name, config.model.channels, config.loss.mask) == ("tpavi", 256, "bce")
    with pytest.raises(UserError, match=r"missing: resnet\..*unexpected: encoder_backbone\."):
        load_released_state_dict(_tpavi("pvt_v2_b5"), "resnet50")
    with pytest.raises(UserError, match="resnet50 and pvt_v2_b5 only, not swin_b"):
        load_released_state_dict(_tpavi("pvt_v2_b5"), "swin_b")


@pytest.mark.slow
def test_a_tpavi_file_becomes_a_model_folder_that_hears(tmp_path: Path) -> None:
    alive = {
        name: torch.full(tensor.shape, 0.01)
        for name, tensor in _tpavi("resnet50").items()
        # what is dead may be missing
        if not re.match(r"path4\.resConfUnit1|resnet\.layer[34]_2", name)
    }
    torch.save(alive, tmp_path / "S4_resnet_best.pth")
    torch.save(VGGish().state_dict(), tmp_path / "vggish.pth")
    command = ["convert", str(tmp_path / "S4_resnet_best.pth"), "resnet50", str(tmp_path / "s4")]
    assert main([*command, "--vggish", str(tmp_path / "vggish.pth")]) == 0
    model = load_model(tmp_path / "s4")
    assert isinstance(model, TPAVIBaseline)
    assert (model.config.model.name, model.config.model.channels, model.config.loss.mask) == (
        "tpavi",
        256,
        "bce",
    )
    assert (model.neck.scales[3].branches[2].weight == 0.01).all()
    assert model.encode_audio(torch.zeros(1, 2, 1, 96, 64)).shape == (1, 2, 128)
    assert "posterior" not in json.loads((tmp_path / "s4" / "metadata.json").read_text())


def test_pvt_norms_have_the_epsilons_of_its_authors() -> None:
    with torch.device("meta"):
        network = VisualBackbone("pvt_v2_b5").network
    norms = {
        name: module.eps
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.LayerNorm)
    }
    assert len(norms) == 4 + 2 * 52 + 49 + 4
    for name, epsilon in norms.items():
        coarse = (
            name.startswith("patch_embed") or ".downsample." in name or name.endswith(".attn.norm")
        )
        assert epsilon == (1e-5 if coarse else 1e-6), name


def test_torchvisions_resnet_file_is_read_and_computes_the_same(tmp_path: Path) -> None:
    theirs = torchvision.models.resnet50().eval()
    torch.save(theirs.state_dict(), tmp_path / "resnet50.pth")
    named = (
        tmp_path
        / f"resnet50-{sha256((tmp_path / 'resnet50.pth').read_bytes()).hexdigest()[:8]}.pth"
    )
    (tmp_path / "resnet50.pth").rename(named)
    ours = VisualBackbone("resnet50", weights=str(named)).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        last = ours(x)[-1]
        for layer in list(theirs.children())[:-2]:  # up to layer4
            x = layer(x)
    torch.testing.assert_close(last, x)


def test_the_pca_file_may_hold_numpy_arrays(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    vectors, means = generator.normal(size=(128, 128)), generator.normal(size=128)
    torch.save({"pca_eigen_vectors": vectors, "pca_means": means}, tmp_path / "pca.pth")
    post = VGGishPostprocessor.from_file(tmp_path / "pca.pth")
    x = generator.normal(size=(3, 128)).astype(np.float32)
    np.testing.assert_allclose(
        post.project(torch.from_numpy(x)).numpy(), (vectors @ (x - means).T).T, atol=1e-4
    )


def test_swin_maps_are_what_enters_each_stage() -> None:
    """Hooks on the plain network see the same maps; its own names and its authors' load alike."""
    late = VisualBackbone("swin_b", image_size=64).eval()
    state = late.network.state_dict()
    early = VisualBackbone("swin_b_pre", image_size=64).eval()
    authors = {}
    for name, tensor in state.items():
        stage = int(name[7]) if name.startswith("layers_") else 0
        if ".downsample." in name:
            stage -= 1
        authors[
            name.replace(name[:8], f"layers.{stage}", 1) if name.startswith("layers_") else name
        ] = tensor
    authors["layers.0.blocks.1.attn_mask"] = torch.zeros(1)
    early.load_named(to_timm_names({**authors, "head.weight": torch.zeros(1)}), "the state dict")
    seen: list[torch.Tensor] = []
    for level in range(4):
        late.network[f"layers_{level}"].blocks.register_forward_pre_hook(
            lambda _, args: seen.append(args[0])
        )
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        late(x)
        maps = early(x)
    for ours, theirs in zip(maps, seen, strict=True):
        torch.testing.assert_close(ours, theirs.permute(0, 3, 1, 2))


def test_the_command_writes_a_model_folder_or_nothing(
    resnet: State, model: ECMVAE, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(resnet, tmp_path / "released.pth")
    command = ["convert", str(tmp_path / "released.pth")]
    assert main([*command, "vggish", str(tmp_path / "b")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "b").exists()
    assert main([*command, "resnet50", str(tmp_path / "a")]) == 0
    again = load_model(tmp_path / "a")
    assert again.config == config_from_dict(
        {"model": {"visual": {"name": "resnet50"}}, "loss": {"formulas": "released"}}
    )
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert main([*command, "resnet50", str(tmp_path / "a")]) == 2  # in use
    assert main(["convert", str(tmp_path / "none.pth"), "resnet50", str(tmp_path / "c")]) == 2
    assert "file not found" in capsys.readouterr().err


def test_the_audio_encoder_may_come_along(model: ECMVAE) -> None:
    vggish = VGGish()
    hearing = with_audio_encoder(model, vggish)
    assert torch.equal(hearing.audio_encoder.embeddings[4].weight, vggish.embeddings[4].weight)
    assert torch.equal(
        hearing.prior_branch.injection.mix.weight, model.prior_branch.injection.mix.weight
    )
    assert not any(parameter.requires_grad for parameter in hearing.audio_encoder.parameters())
