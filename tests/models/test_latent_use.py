"""The use of the latents, on models whose use of them is known."""

import pytest
import torch
from torch import Tensor

from ecmvae.config import config_from_dict
from ecmvae.models import ECMVAE, build_model
from ecmvae.models.latent_use import LatentUse


def _model(kind: str) -> ECMVAE:
    torch.manual_seed(0)
    values = {"visual": {"name": "efficientnet_lite0"}, "channels": 16, "fusion": {"kind": "gate"}}
    return build_model(
        config_from_dict({"model": values | {"latent": {"kind": kind, "dim": 4}}}).model,
        image_size=64,
    )


def _batch() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    masks = torch.zeros(2, 3, 1, 64, 64)
    masks[:, :, :, 8:24, 8:24] = 1
    return torch.randn(2, 3, 3, 64, 64), torch.rand(2, 3, 128), masks


@pytest.mark.parametrize("kind", ["single", "factorized", "agreement"])
def test_latents_that_no_layer_reads_change_nothing(kind: str) -> None:
    model = _model(kind).eval()
    for branch in (model.prior_branch, model.posterior_branch):
        if branch is not None:
            branch.injection.mix.weight.data[:, 16:] = 0
    if model.agreement is not None:
        model.agreement.error.basis.zero_()
        model.agreement.answer.besides.weight.data[:, 16:] = 0
        for gate in model.agreement.answer.fusion:
            gate.query[1].weight.data.zero_()
    use = LatentUse(model)
    use.update(*_batch())
    numbers = use.compute()
    assert not numbers["used"]
    for change in ("zeroed", "resampled", "swapped"):
        for each in numbers[change].values():
            assert each == {
                "change_in_objects": 0.0,
                "mask_iou": 1.0,
                "miou": numbers["normal_miou"],
            }
    assert numbers["posterior_iou_with_prior_answer"] > 0.99 or model.posterior_branch is not None


def test_a_decoder_that_reads_the_latents_alone_shows_it() -> None:
    """The whole mask is the sign of c's first dimension, which is +5 in one clip and -5 in the other."""
    model = _model("single").eval()

    class Sides:
        """Stands in for the network: what it knows of a clip is the first number of its sound."""

        def __call__(self, point, clips) -> Tensor:
            sign = point["shared"][:, :1, None, None].expand(-1, -1, 64, 64)
            return sign.reshape(2, 3, 1, 64, 64)

    frames, audio, masks = _batch()
    masks[0], masks[1] = 1, 0
    prior = model.prior_latents(model.condition(frames, audio))
    prior["shared"].mean[:3] = 5.0
    prior["shared"].mean[3:] = -5.0
    model.prior_latents = lambda clips: prior  # type: ignore[method-assign]
    model.answer = Sides()  # type: ignore[method-assign]
    use = LatentUse(model)
    with torch.no_grad():
        use.update(frames, audio, masks)
    numbers = use.compute()
    assert numbers["normal_miou"] == 1.0
    assert numbers["swapped"]["c"] == {
        "change_in_objects": pytest.approx(
            torch.sigmoid(torch.tensor(5.0)).item() * 2 - 1, abs=1e-4
        ),
        "mask_iou": 0.0,
        "miou": 0.0,
    }
    # nothing where everything should be, nothing where nothing should
    assert numbers["zeroed"]["c"]["miou"] == 0.5
    assert numbers["latents"]["c"]["active_units_prior"] == 4
    assert numbers["used"]


def test_what_is_measured_leaves_random_numbers_alone() -> None:
    use, batch = LatentUse(_model("factorized").eval()), _batch()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    use.update(*batch)
    assert torch.equal(torch.rand(3), expected)


def test_one_clip_has_no_other_to_take_latents_from() -> None:
    use = LatentUse(_model("factorized").eval())
    use.update(*(each[:1] for each in _batch()))
    assert use.compute() is None
    assert use.curves() == {}


def test_a_model_without_latents_has_no_use_of_them() -> None:
    assert LatentUse.of(_model("none")) is None
    assert LatentUse.of(torch.nn.Linear(1, 1)) is None
