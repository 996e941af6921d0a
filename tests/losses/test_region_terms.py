"""The terms of models with regions, against values worked out by hand."""

import math

import pytest
import torch
from region_model import region_clips, region_config, region_model

from ecmvae.errors import UserError
from ecmvae.losses.objective import Objective
from ecmvae.losses.region_terms import Correspondence, Names, SameRegion, Sounds


def test_the_terms_of_the_regions_need_known_objects() -> None:
    model = region_model()
    frames, audio, masks = region_clips()
    config = region_config(**{"loss.correspondence": 0.5})
    values = Objective.from_config(config)(model(frames, audio, masks), masks)
    assert not {"outlines", "regions", "correspondence"} & set(values.values)


@pytest.mark.parametrize(("distance", "expected"), [(10.0, 0.0), (0.0, 0.5 * 11.5129)])
def test_regions_are_right_when_apart_and_wrong_when_equal(
    distance: float, expected: float
) -> None:
    """Equal embeddings of two things cost -log(1e-5) for each of their pairs, half of the mean."""
    frames, audio, masks = region_clips()
    output = region_model()(frames, audio, masks)
    embeddings = torch.zeros(6, 1, 4, 4)
    embeddings[..., 2:] = distance
    regions = output.prior_branch.regions
    object.__setattr__(regions, "embeddings", embeddings)
    objects = torch.ones(2, 3, 64, 64, dtype=torch.long)
    objects[..., 32:] = 2
    term = SameRegion(1.0)
    values = Objective([term])(output, masks, objects=objects).values
    assert float(values["regions"]) == pytest.approx(expected, abs=1e-3)


def test_a_sound_is_compared_with_the_objects_of_all_clips() -> None:
    """Two clips of one frame: each shows codes 0 and 1 in halves, and hears one of them with known probabilities."""
    frames, audio, masks = region_clips()
    output = region_model()(frames[:, :1], audio[:, :1], masks[:, :1])
    branch = output.prior_branch
    names = torch.full((2, 41, 4, 4), -30.0)
    names[:, 0, :, :2] = names[:, 1, :, 2:] = 0.0
    heard = torch.full((2, 40), 1e-12)
    heard[0, :2], heard[1, :2] = torch.tensor([0.9, 0.2]), torch.tensor([0.3, 0.6])
    objects = torch.ones(2, 1, 64, 64, dtype=torch.long)
    objects[..., 32:] = 2
    sounding = torch.zeros(2, 1, 1, 64, 64)
    sounding[0, ..., :32] = sounding[1, ..., 32:] = 1
    object.__setattr__(branch.regions, "names", names)
    object.__setattr__(branch, "sounding", heard.log())
    at_once = -sum(map(math.log, (0.9, 1 - 0.2, 1 - 0.3, 0.6))) / 4
    apart = -sum(map(math.log, (1 - 0.9, 1 - 0.2, 1 - 0.3, 1 - 0.6))) / 4
    objective = Objective([Correspondence(1.0)])
    values = objective(output, sounding, objects=objects).values
    assert float(values["correspondence"]) == pytest.approx(at_once + apart, abs=1e-4)
    alone = objective(output, sounding, objects=objects, valid=torch.tensor([[True], [False]]))
    expected = -(math.log(0.9) + math.log(1 - 0.2)) / 2
    assert float(alone.values["correspondence"]) == pytest.approx(expected, abs=1e-4)
    empty = objective(output, sounding, objects=torch.zeros_like(objects)).values
    assert float(empty["correspondence"]) == 0


def test_an_object_is_called_by_its_class() -> None:
    """The left half is a dog called so with .8, the right half in one clip a thing of no class, else one of no code."""
    frames, audio, masks = region_clips()
    output = region_model()(frames[:, :1], audio[:, :1], masks[:, :1])
    names = torch.full((2, 41, 4, 4), 0.1)
    names[:, 1, :, :2], names[:, 40, :, 2:] = 0.8, 0.6
    object.__setattr__(output.prior_branch.regions, "names", names.log())
    objects = torch.ones(2, 1, 64, 64, dtype=torch.long)
    objects[..., 32:] = 2
    objective = Objective([Names(1.0, ["cat", "dog"])])
    classes = [("dog", ""), ("cat", "unicorn")]
    values = objective(output, masks[:, :1], objects=objects, classes=classes).values
    expected = -(math.log(0.8) + math.log(0.6) + math.log(0.1)) / 3
    assert float(values["names"]) == pytest.approx(expected, abs=1e-5)
    first = torch.tensor([[True], [False]])
    values = objective(output, masks[:, :1], objects=objects, classes=classes, valid=first).values
    expected = -(math.log(0.8) + math.log(0.6)) / 2
    assert float(values["names"]) == pytest.approx(expected, abs=1e-5)


def test_codes_are_heard_where_their_classes_sound() -> None:
    """One clip of two frames: a dog, and then nothing; unicorns have no code, and the third code no class."""
    frames, audio, masks = region_clips()
    output = region_model()(frames[:1, :2], audio[:1, :2], masks[:1, :2])
    heard = torch.tensor([[0.2, 0.9, 0.5], [0.3, 0.6, 0.5]])
    object.__setattr__(output.prior_branch, "sounding", heard.log())
    objective = Objective([Sounds(1.0, ["cat", "dog"])])
    classes = [(("dog", "unicorn"), ())]
    values = objective(output, masks[:1, :2], heard=classes).values
    per_frame = [-math.log(0.8) - math.log(0.9), -math.log(0.7) - math.log(0.4)]
    assert float(values["sounds"]) == pytest.approx(sum(per_frame) / 2, abs=1e-5)
    first = torch.tensor([[True, False]])
    values = objective(output, masks[:1, :2], heard=classes, valid=first).values
    assert float(values["sounds"]) == pytest.approx(per_frame[0], abs=1e-5)


def test_names_and_sounds_need_classes_and_a_table() -> None:
    frames, audio, masks = region_clips()
    output = region_model()(frames, audio, masks)
    objects = torch.ones(2, 3, 64, 64, dtype=torch.long)
    both = {"loss.names": 0.5, "loss.sounds": 0.5}
    objective = Objective.from_config(region_config(**both))
    assert not {"names", "sounds"} & set(objective(output, masks, objects=objects).values)
    classes = [("dog",), ("cow",)]
    heard = [(("dog",),) * 3, ((),) * 3]
    known = objective(output, masks, objects=objects, classes=classes, heard=heard)
    assert {"names", "sounds"} <= set(known.values)
    for name in both:
        with pytest.raises(UserError, match=rf"{name} .* set model\.fusion\.table"):
            Objective.from_config(region_config(**{name: 1.0, "model.fusion.table": None}))


def test_a_sure_sound_has_a_finite_gradient_in_16_bits() -> None:
    """bfloat16 rounds 1 - 1e-6 to 1, whose logarithm is infinite, and 0 times that is not a number."""
    frames, audio, masks = region_clips()
    model = region_model()
    with torch.autocast("cpu", torch.bfloat16):
        output = model(frames, audio, masks)
        branch = output.prior_branch
        names = torch.full((6, 41, 4, 4), -30.0)
        names[:, 0] = 0.0
        sounding = torch.zeros(6, 40, requires_grad=True)
        object.__setattr__(branch.regions, "names", names)
        object.__setattr__(branch, "sounding", sounding)
        objects = torch.ones(2, 3, 64, 64, dtype=torch.long)
        values = Objective([Correspondence(1.0)])(output, masks, objects=objects)
    values.total.backward()
    assert sounding.grad is not None
    assert bool(sounding.grad.isfinite().all())
    assert values.total.isfinite()
