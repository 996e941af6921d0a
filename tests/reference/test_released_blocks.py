"""TPAVI of both kinds, VGGish and every loss term against what the released code computes."""

import numpy as np
import pytest
import reference_inputs as ref
import torch
from released_case import arrays, close, drawn, numbers, released_shapes, without_noise

from ecmvae.audio.vggish import VGGishPostprocessor, log_mel_patches
from ecmvae.losses import released
from ecmvae.losses.segmentation import MatchingForm, binary_cross_entropy, structure_loss
from ecmvae.models.tpavi import TPAVI, AlignedTPAVI
from ecmvae.released_checkpoints import load_released_vggish
from ecmvae.vae.gaussian import DiagonalGaussian, product_of_experts

NAMES = {"out": "W_z.0", "out_norm": "W_z.1", "norm": "norm_layer", "align": "align_channel"}


def _filled(block: TPAVI) -> TPAVI:
    state = {}
    for name, tensor in block.state_dict().items():
        layer, part = name.rsplit(".", 1)
        label = f"{NAMES.get(layer, layer)}.{part}"
        matrix = tensor.ndim == 2 and layer != "align"
        shape = (*tensor.shape, 1, 1, 1) if matrix else tuple(tensor.shape)
        state[name] = torch.from_numpy(np.asarray(ref.weight(label, shape))).reshape(tensor.shape)
    block.load_state_dict(state)
    return block.eval()


@pytest.mark.parametrize("kind", ["tpavi_mmvae", "tpavi_avsbench"])
def test_tpavi_of_both_kinds(kind: str) -> None:
    answer = arrays(kind)
    if kind == "tpavi_mmvae":
        block, every = _filled(TPAVI(128, 128)), 13
        visual, audio = (torch.from_numpy(each)[None] for each in ref.tpavi_mmvae_inputs())
    else:
        block, every = _filled(AlignedTPAVI(256, 128)), 29
        visual, audio = (torch.from_numpy(each) for each in ref.tpavi_inputs())
        visual = visual.transpose(1, 2)

    def flat(clip_map: torch.Tensor) -> torch.Tensor:
        """In the released order: (T, C, h, w) there, (C, T, h, w) in AVSBench."""
        return (clip_map if kind == "tpavi_mmvae" else clip_map.transpose(1, 2)).flatten()

    with torch.no_grad():
        expected, heard = block(visual, audio)
    close(f"{kind}: fused map", flat(expected)[::every], answer[f"eval_z_every{every}"], atol=1e-4)
    if kind == "tpavi_mmvae":
        close(f"{kind}: audio", heard.transpose(1, 2), answer["audio_norm"], atol=1e-4)
    else:
        close(f"{kind}: audio", heard, answer["align"], atol=1e-4)
        with torch.no_grad():
            tokens = block.attend(visual.permute(0, 1, 3, 4, 2).flatten(2, 3), None)
        unheard = tokens.unflatten(2, visual.shape[-2:]).permute(0, 1, 4, 2, 3)
        close(
            f"{kind}: without audio",
            flat(unheard)[::25],
            answer["eval_z_no_audio_every25"],
            atol=1e-4,
        )

    block.train()
    visual.requires_grad_()
    fused, _ = block(visual, audio)
    (fused * expected).sum().backward()
    assert visual.grad is not None
    gradient, known = flat(visual.grad)[::35], answer["train_grad_visual_every35"]
    close(
        f"{kind}: gradient in training, of its largest entry",
        gradient / known.abs().max(),
        known / known.abs().max(),
        atol=1e-3,
    )
    close(
        f"{kind}: running mean",
        block.out_norm.running_mean,
        answer["train_running_mean"],
        atol=1e-4,
    )
    close(
        f"{kind}: running variance",
        block.out_norm.running_var,
        answer["train_running_var"],
        atol=1e-4,
    )


def test_vggish_embeddings_pca_and_8_bit() -> None:
    answer = arrays("vggish")
    shapes = released_shapes("vggish")
    weights = drawn({**shapes, "pproc.pca_eigen_vectors": [128, 128], "pproc.pca_means": [128, 1]})
    vggish = load_released_vggish(weights)
    post = VGGishPostprocessor(weights["pproc.pca_eigen_vectors"], weights["pproc.pca_means"])
    patches = log_mel_patches(torch.from_numpy(ref.wave_16k()).float(), 16000)
    with torch.no_grad():
        embedding = vggish(patches)
    close("VGGish: embedding", embedding, answer["emb_16k"], atol=1e-4)
    close("VGGish: PCA", post.project(embedding), answer["pca_16k"], atol=1e-4)
    close("VGGish: 8 bits", post(embedding), answer["post_16k"], atol=1)
    one = post(embedding[:1])
    assert one.shape == (1, 128)  # the released squeeze loses this axis


def _gaussians() -> tuple[DiagonalGaussian, DiagonalGaussian, tuple[torch.Tensor, ...]]:
    case = ref.loss_inputs()
    leaves = tuple(
        torch.from_numpy(case[f"{kind}_{side}"]).requires_grad_()
        for side in "pq"
        for kind in ("mu", "logvar")
    )
    return DiagonalGaussian(*leaves[:2]), DiagonalGaussian(*leaves[2:]), leaves


def _check_gradients(value: torch.Tensor, leaves: tuple[torch.Tensor, ...], known: list) -> None:
    for gradient, (norm, largest, first) in zip(
        torch.autograd.grad(value, leaves), known, strict=True
    ):
        close("losses: gradient norms", gradient.norm(), norm, rtol=1e-3)
        assert gradient.abs().max().item() == pytest.approx(largest, rel=1e-3)
        assert gradient.flatten()[:4].tolist() == pytest.approx(first, rel=2e-3, abs=1e-4 * largest)


LOSSES = numbers("losses")["values"]


def test_kl_with_the_log_variance_taken_for_a_log_scale() -> None:
    p, q, leaves = _gaussians()
    known = LOSSES["kl_p_q"]
    value = released.kl(p, q).mean()
    close("losses: KL", value, known["value"], rtol=1e-4)
    _check_gradients(value, leaves, known["grad_mup_lvp_muq_lvq"])
    close("losses: KL", released.kl(q, p).mean(), LOSSES["kl_q_p"]["value"], rtol=1e-4)


def test_js_of_densities_at_their_means() -> None:
    p, q, leaves = _gaussians()
    with without_noise():
        value = released.js(p, q).mean()
    known = LOSSES["js_p_q_sample_is_mean"]
    close("losses: density JS", value, known["value"], rtol=1e-4)
    _check_gradients(value, (leaves[1], leaves[3]), known["grad_lvp_lvq"])


def test_orthogonality_is_a_mean() -> None:
    case = ref.loss_inputs()
    z1, z2 = (torch.from_numpy(case[name]).requires_grad_() for name in ("z1", "z2"))
    value = released.orthogonality_loss(z1, z2)
    known = LOSSES["diff_loss"]
    close("losses: orthogonality", value, known["value"], rtol=1e-4)
    _check_gradients(value, (z1, z2), known["grad_z1_z2"])


def test_product_of_experts() -> None:
    case = ref.loss_inputs()
    experts = [
        DiagonalGaussian(torch.from_numpy(mean), torch.from_numpy(logvar))
        for mean, logvar in zip(case["poe_mu"], case["poe_logvar"], strict=True)
    ]
    known = {name: torch.tensor(values) for name, values in LOSSES["poe"].items()}
    joint = product_of_experts(experts, include_prior=False)
    close("product of experts", joint.mean, known["mu"], atol=1e-4)
    close("product of experts", joint.logvar, known["logvar"], atol=1e-4)
    # There the standard normal is an expert like the others, in the first one's place.
    joint = product_of_experts(experts[1:], include_prior=True)
    close("product of experts", joint.mean, known["with_unit_prior_first_mu"], atol=1e-4)
    close("product of experts", joint.logvar, known["with_unit_prior_first_logvar"], atol=1e-4)


def test_structure_loss_whose_weights_cancel() -> None:
    case = ref.loss_inputs()
    logits = torch.from_numpy(case["logits_ms3"]).requires_grad_()
    masks = torch.from_numpy(case["mask_ms3"])
    value = released.structure_loss(logits, masks).mean()
    close("losses: structure", value, LOSSES["structure_ms3"]["value"], rtol=1e-4)
    _check_gradients(value, (logits,), LOSSES["structure_ms3"]["grad"])
    assert structure_loss(logits, masks).mean().item() != pytest.approx(value.item(), rel=1e-4)
    clips = torch.from_numpy(case["logits_s4"])[::5]  # S4: each clip's first frame only
    first = torch.from_numpy(case["mask_s4"])[:, 0]
    value = released.structure_loss(clips, first).mean()
    close("losses: structure", value, LOSSES["structure_s4"]["value"], rtol=1e-4)


MATCHING = {
    "sim_mmvae_kl_flag_avg": MatchingForm(),
    "sim_mmvae_kl_flag_max": MatchingForm(pooling="max"),
    "sim_mmvae_euclidean_flag_avg": MatchingForm(distance="euclidean"),
    "sim_mmvae_euclidean_flag_max": MatchingForm(distance="euclidean", pooling="max"),
    "sim_mmvae_kl_threshold": MatchingForm(threshold=True),
}


@pytest.mark.parametrize("name", MATCHING)
def test_audio_visual_matching_in_all_its_forms(name: str) -> None:
    case = ref.loss_inputs()
    logits = torch.from_numpy(case["logits_ms3"]).requires_grad_()
    maps = [torch.from_numpy(case[f"v_map_{i}"]).requires_grad_() for i in range(4)]
    sounds = [torch.from_numpy(case[f"a_fea_{i}"])[0].T for i in range(4)]
    value = released.audio_visual_matching_loss(maps, sounds, logits, MATCHING[name]).mean()
    known = LOSSES[name]
    close("losses: audio-visual matching", value, known["value"], rtol=1e-4)
    if "grad_v" in known:  # a mask that is cut passes no gradient; there are no answers for it
        _check_gradients(value, (logits, *maps), [*known["grad_logits"], *known["grad_v"]])
    if name == "sim_mmvae_kl_flag_avg":
        structure = released.structure_loss(
            logits[::5], torch.from_numpy(case["mask_ms3"])[::5]
        ).mean()
        both = structure + 0.5 * value
        close(
            "losses: structure and matching",
            both,
            LOSSES["iou_semantic_mmvae_s4_lambda0.5"]["value"],
            rtol=1e-4,
        )


def test_plain_binary_cross_entropy_of_first_frames() -> None:
    case = ref.loss_inputs()
    logits = torch.from_numpy(case["logits_s4"]).requires_grad_()
    value = binary_cross_entropy(logits[::5], torch.from_numpy(case["mask_s4"])[:, 0]).mean()
    known = LOSSES["bce_first_frame"]
    close("losses: binary cross-entropy", value, known["value"], rtol=1e-4)
    _check_gradients(value, (logits,), known["grad"])
