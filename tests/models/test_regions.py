"""Outlines, regions and their names: each part alone on maps whose answer is known, and the model they make."""

from pathlib import Path

import pytest
import torch
from region_model import region_clips, region_config, region_model
from torch import Tensor, nn

from ecmvae.errors import UserError
from ecmvae.losses.objective import Objective
from ecmvae.models.checkpoint import load_model, save_model
from ecmvae.models.decoder import FeatureNeck, SegmentationDecoder
from ecmvae.models.output import Regions
from ecmvae.models.regions import RegionAnswer, _pool, _pool_coarse, _together, same_region


def test_cells_belong_together_by_their_distance() -> None:
    embeddings = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    cells = embeddings.flatten(2).transpose(1, 2)
    assert torch.allclose(
        same_region(embeddings), torch.exp(-torch.cdist(cells, cells).square()), atol=1e-5
    )


def test_a_region_is_averaged_over_its_own_cells() -> None:
    """Two things side by side, far from each other; the right column is background and does not count."""
    embeddings = torch.tensor([[0.0, 0, 9, 9, 0]]).expand(4, 5).reshape(1, 1, 4, 5)
    share = torch.ones(1, 1, 4, 5)
    share[..., 4] = 0
    values = torch.arange(20.0).reshape(1, 1, 4, 5)
    pooled = _pool(_together(embeddings, share), values)
    assert pooled[..., :2].flatten().tolist() == pytest.approx(
        [values[..., :2].mean().item()] * 8, abs=1e-3
    )
    assert pooled[..., 2:4].flatten().tolist() == pytest.approx(
        [values[..., 2:4].mean().item()] * 8, abs=1e-3
    )


def test_coarse_maps_are_pooled_as_if_their_cells_were_repeated() -> None:
    torch.manual_seed(0)
    weights = torch.rand(2, 16, 16).softmax(2)
    coarse = torch.randn(2, 3, 2, 2)
    fine = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = _pool(weights, fine).flatten(2).transpose(1, 2)
    assert torch.allclose(_pool_coarse(weights, coarse, (4, 4)), expected, atol=1e-6)


def test_a_region_sounds_with_the_probability_that_its_code_does() -> None:
    widths = (4, 4, 4, 4)
    answer = RegionAnswer(
        FeatureNeck(widths, 8), SegmentationDecoder(8), widths=widths, channels=8, latent_dim=2
    )
    nn.init.zeros_(answer.besides.weight)
    nn.init.constant_(answer.besides.bias, -50.0)  # nothing else is heard
    with torch.no_grad():
        answer.sharpness.fill_(1.0)
    names = torch.tensor([[0.7, 0.1, 0.2], [0.1, 0.1, 0.8]]).log().T.reshape(1, 3, 1, 2)
    seen = Regions([], torch.full((1, 1, 1, 2), 30.0), torch.zeros(1, 1, 1, 2), names)
    points = {"shared": torch.tensor([[2.0, -1.0]]), "audio": torch.zeros(1, 2)}
    sounding = torch.tensor([2.0, -1.0]).sigmoid()
    expected = [0.7 * sounding[0] + 0.1 * sounding[1], 0.1 * sounding[0] + 0.1 * sounding[1]]
    found = answer(seen, points, 1).logits.sigmoid().flatten()
    assert found.tolist() == pytest.approx([value.item() for value in expected], abs=1e-4)
    nowhere = Regions([], torch.full((1, 1, 1, 2), -30.0), seen.embeddings, names)
    assert answer(nowhere, points, 1).logits.sigmoid().max().item() < 1e-9


@torch.no_grad()
def test_outlines_and_names_do_not_hear() -> None:
    model = region_model().eval()
    frames, audio, _ = region_clips()
    seen, other = (
        model(frames, each, latents="mean").prior_branch.regions for each in (audio, audio.flip(0))
    )
    assert torch.equal(seen.outlines, other.outlines)
    assert torch.equal(seen.names, other.names)
    assert torch.allclose(seen.names.exp().sum(1), torch.ones(6, 4, 4))
    assert not torch.equal(
        model(frames, audio, latents="mean").logits, model(frames, audio.flip(0)).logits
    )


def test_every_part_that_is_not_frozen_learns() -> None:
    config = region_config(**{"loss.correspondence": 0.5})
    model = region_model().train()
    frames, audio, masks = region_clips()
    objects = torch.zeros(2, 3, 64, 64, dtype=torch.long)
    objects[..., :32], objects[..., 32:] = 1, 2
    values = Objective.from_config(config)(model(frames, audio, masks), masks, objects=objects)
    assert {"outlines", "regions", "correspondence"} <= set(values.values)
    values.total.backward()
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    idle = [
        name
        for name, each in trained.items()
        if each.grad is None and not name.startswith("backbone.")
    ]
    assert idle == []
    assert not any(name.startswith("agreement.answer.classifier") for name in trained)


@torch.no_grad()
def test_a_saved_model_needs_neither_its_table_nor_its_package(tmp_path: Path) -> None:
    table = tmp_path / "codes.yaml"
    table.write_text("dog: [151-268]\ncat: [281, 282]\n")
    model = region_model(**{"model.fusion.table": str(table)}).eval()
    assert float(model.agreement.answer.table[0].sum()) == 118
    save_model(model, tmp_path / "model", model.config)
    table.unlink()
    loaded = load_model(tmp_path / "model")
    frames, audio, _ = region_clips()
    assert torch.equal(
        loaded(frames, audio, latents="mean").logits, model(frames, audio, latents="mean").logits
    )


def test_regions_need_the_agreement_form() -> None:
    with pytest.raises(UserError, match="regions needs"):
        region_model(**{"model.latent.kind": "none"})
    with pytest.raises(UserError, match="one class of masks"):
        region_model(**{"model.num_classes": 3, "data.name": "avss", "data.root": "somewhere"})


@torch.no_grad()
def test_on_a_second_look_things_are_named_without_their_background(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = region_model(**{"model.fusion.second_look": True}).eval()
    answer = model.agreement.answer
    outlines = torch.full((6, 1, 64, 64), -30.0)
    outlines[..., :32] = 30.0
    monkeypatch.setattr(answer.decoder, "forward", lambda scales: outlines)
    classified: list[Tensor] = []
    monkeypatch.setattr(answer, "classifier", None)
    monkeypatch.setattr(answer, "table", None)
    monkeypatch.setattr(answer.far, "forward", lambda far: (classified.append(far), far[:, :41])[1])
    frames, audio, _ = region_clips()
    model(frames, audio, latents="mean")
    alone = frames.clone()
    alone[..., 32:] = 0
    assert torch.allclose(classified[0], model.extract_features(alone)[-1].flatten(0, 1), atol=1e-5)
    assert not torch.allclose(
        classified[0], model.extract_features(frames)[-1].flatten(0, 1), atol=1e-2
    )


@pytest.mark.parametrize("second_look", [False, True])
@torch.no_grad()
def test_what_is_seen_can_be_kept_where_nothing_of_it_is_trained(second_look: bool) -> None:
    """The backbone's maps until then; afterwards regions, from which any sound has the answer of the frames."""
    model = region_model(**{"model.visual.frozen": True, "model.fusion.second_look": second_look})
    assert model.frozen_form == ""
    frames, audio, masks = region_clips()
    flat = frames.flatten(0, 1)
    assert model.frozen_channels == tuple(each.shape[1] for each in model.frozen_features(flat))
    seen = ("neck", "decoder", "embed", "dropout", "far", "near", "trust")
    model.freeze([f"agreement.answer.{part}" for part in seen])
    model.train()
    assert model.frozen_form == ("second look" if second_look else "")
    kept = [each.unflatten(0, (2, 3)) for each in model.frozen_features(flat)]
    assert model.frozen_channels == tuple(each.shape[2] for each in kept) == (16, 16, 41, 1)
    for heard in (audio, audio.flip(0)):
        expected, found = (
            model.eval()(frames, heard, latents="mean", features=each)
            for each in (model.extract_features(frames), kept)
        )
        assert torch.equal(expected.logits, found.logits)
        assert torch.equal(
            model.posterior_latents(masks.flatten(0, 1), model.condition(frames, heard, kept))[
                "shared"
            ].mean,
            model.posterior_latents(masks.flatten(0, 1), model.condition(frames, heard))[
                "shared"
            ].mean,
        )


@pytest.mark.parametrize("second_look", [False, True])
def test_what_is_seen_can_be_kept_while_names_are_learned(second_look: bool) -> None:
    """The same answer and the same gradients as from the frames."""
    model = region_model(**{"model.visual.frozen": True, "model.fusion.second_look": second_look})
    model.freeze([f"agreement.answer.{part}" for part in ("neck", "decoder", "embed")])
    model.train()
    model.agreement.answer.dropout.p = 0.0
    assert model.frozen_form == ("second look, without names" if second_look else "without names")
    frames, audio, masks = region_clips()
    with torch.no_grad():
        seen = model.frozen_features(frames.flatten(0, 1))
    kept = [each.unflatten(0, (2, 3)) for each in seen]
    assert model.frozen_channels == tuple(each.shape[2] for each in kept)
    gradients = []
    for features in (None, kept):
        model.zero_grad()
        torch.manual_seed(0)
        output = model(frames, audio, masks, features=features)
        output.logits.square().mean().backward()
        gradients.append([model.agreement.answer.far.weight.grad, output.logits.detach()])
    assert float(gradients[0][0].abs().max()) > 0
    for direct, from_kept in zip(*gradients, strict=True):
        torch.testing.assert_close(direct, from_kept)


def test_bare_names_are_those_of_the_table_in_training_alone() -> None:
    torch.manual_seed(0)
    model = region_model(**{"model.fusion.bare_names": 0.5}).eval()
    answer = model.agreement.answer
    with torch.no_grad():
        sight = answer.see(model.backbone(torch.randn(64, 3, 64, 64)))
        bare = answer.name(sight).names  # the learned layers start at zero
        answer.far.bias[3] = 50.0
        used, trained = answer.name(sight).names, answer.train().name(sight).names
    assert bool((used[:, 3].exp() > 0.99).all())
    learned = (trained[:, 3].exp() > 0.99).flatten(1).all(1)
    assert 16 < int(learned.sum()) < 48
    torch.testing.assert_close(trained[learned], used[learned])
    torch.testing.assert_close(trained[~learned], bare[~learned])
