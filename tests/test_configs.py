"""Every YAML file of configs/ is loaded, built and stepped once at toy size; an ablation changes one switch only."""

import json
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from prepared import prepared

from ecmvae.config import Config, load_config
from ecmvae.config_reader import by_dotted_name
from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.losses.objective import Objective
from ecmvae.models import build_model
from ecmvae.types import AVBatch

CONFIGS = Path(__file__).parents[1] / "configs"
RUNS = sorted(CONFIGS.glob("*.yaml"))
LAYERS = sorted((CONFIGS / "layers").glob("*.yaml"))
# stepped by tests/training/test_recipes.py
REPRODUCE = sorted((CONFIGS / "reproduce").glob("*.yaml"))
ABLATIONS = sorted((CONFIGS / "ablations").glob("*.yaml"))

# One clip of 32 pixels, no weights to fetch. Backbones are swapped for the smallest of their family.
TOY: dict[str, Any] = {
    "model.visual.weights": None,
    "model.audio.name": "vggish_small",
    "model.audio.weights": None,
    "model.audio.frozen": False,
    "data.image_size": 32,
}
SMALLEST = {
    "pvt_v2_b5": "pvt_v2_b0",
    "resnet50": "resnet18",
    "swin_b": "swin_tiny_patch4_window7_224",
}


@cache
def toy(*paths: Path, kept: tuple[str, ...] = ()) -> Config:
    """The configuration of these files at toy size, with the knobs in `kept` as they are."""
    config = load_config(paths)
    small = {name: value for name, value in TOY.items() if name not in kept}
    small["model.visual.name"] = SMALLEST.get(config.model.visual.name, config.model.visual.name)
    # that term compares the maps with the sound's 128 features
    if config.loss.audio_visual_matching == 0:
        small["model.channels"] = 8
    return load_config(paths, small)


def leaves(config: Any, where: str = "") -> dict[str, Any]:
    """Every knob by its dotted name."""
    found = {}
    for field in fields(config):
        value, name = getattr(config, field.name), f"{where}{field.name}"
        found |= leaves(value, f"{name}.") if is_dataclass(value) else {name: value}
    return found


@dataclass(frozen=True)
class Effect:
    """What one step showed: the loss terms by name, and every trained parameter with its shape."""

    terms: dict[str, float]
    trained: dict[str, tuple[int, ...]]


@cache
def step(config: Config) -> Effect:
    """Build model and loss, and take one optimiser step on one clip."""
    torch.manual_seed(0)
    model = build_model(config.model, image_size=config.data.image_size)
    loss = Objective.from_config(config)
    clip = SyntheticAVS("ms3", length=1, size=config.data.image_size)[0]
    if config.model.num_classes > 1:
        clip = replace(clip, labels=clip.objects * clip.masks[:, 0].long())
    batch = AVBatch.collate([prepared(clip)])
    parameters = [p for p in [*model.parameters(), *loss.parameters()] if p.requires_grad]
    optimiser = torch.optim.SGD(parameters, lr=1e-3)
    output = model(batch.frames, model.encode_audio(batch.audio), batch.masks, batch.supervised)
    terms = loss(output, batch.masks, batch.supervised, labels=batch.labels)
    total = terms.total
    total.backward()
    before = [p.detach().clone() for p in parameters]
    optimiser.step()
    assert torch.isfinite(total)
    assert any(not torch.equal(old, new) for old, new in zip(before, parameters, strict=True))
    assert output.logits.shape == batch.masks.expand(-1, -1, config.model.num_classes, -1, -1).shape
    trained = {
        name: tuple(each.shape) for name, each in model.named_parameters() if each.requires_grad
    }
    return Effect({name: float(value) for name, value in terms.named().items()}, trained)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_a_config_builds_and_steps(path: Path) -> None:
    step(toy(path))


BASE = CONFIGS / "ms3_pvt.yaml"
base = cache(partial(load_config, BASE))


@cache
def changed_by(path: Path) -> tuple[str, ...]:
    """The settings that an ablation changes."""
    plain, ablated = leaves(base()), leaves(load_config([BASE, path]))
    return tuple(name for name in plain if plain[name] != ablated[name])


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.stem)
def test_an_ablation_changes_one_switch_and_steps(path: Path) -> None:
    changed = changed_by(path)
    assert len(changed) == 1, f"{path.name} changes {changed}"
    step(toy(BASE, path, kept=changed))


LATENT_TERMS = {"kl_visual", "kl_audio", "orthogonality", "mutual_information"}
GONE = {
    "latent_none": {*LATENT_TERMS, "js_shared", "posterior_structure"},
    "latent_single": LATENT_TERMS,
    "shared_divergence_kl": {"js_shared"},
    "shared_divergence_geometric_js": {"js_shared"},
    "shared_divergence_dimension_js": {"js_shared"},
    "no_kl": {"kl_visual", "kl_audio", "js_shared"},
    "no_orthogonality": {"orthogonality"},
    "no_mutual_information": {"mutual_information"},
    "no_posterior_structure": {"posterior_structure"},
}
"""Loss terms that an ablation takes away; the others keep all."""

NEW = {
    f"shared_divergence_{kind}": {f"{kind}_shared"}
    for kind in ("kl", "geometric_js", "dimension_js")
}
"""Loss terms that an ablation brings."""

NOT_IN_A_STEP = {"audio_silent", "audio_shuffled", "kl_warmup", "kl_balance", "backbone_pvt_v2_b0"}
"""tests/training/test_datamodule.py, test_module.py and tests/losses/test_terms.py hold the first four; the last is
what `toy` takes for b5."""

PARAMETERS = {
    "latent_none": lambda trained: (
        not any("latent" in name or "injection" in name for name in trained)
    ),
    "latent_single": lambda trained: not any("latent_encoder.visual" in name for name in trained),
    "latent_fusion_poe": lambda trained: not any("latent_fusion" in name for name in trained),
    "latent_dim_8": lambda trained: trained["prior_branch.latent_fusion.visual.weight"] == (8, 16),
    "latent_dim_32": lambda trained: (
        trained["prior_branch.latent_fusion.visual.weight"] == (32, 64)
    ),
    "fusion_none": lambda trained: not any(name.startswith("fusion") for name in trained),
    "fusion_gate": lambda trained: "fusion.0.query.1.weight" in trained,
    "neck_aspp": lambda trained: "prior_branch.neck.scales.0.branches.3.weight" in trained,
    "backbone_frozen": lambda trained: not any(name.startswith("backbone") for name in trained),
    "audio_tuned": lambda trained: any(name.startswith("audio_encoder") for name in trained),
}
"""What is trained under an ablation of the network."""


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.stem)
def test_an_ablation_does_what_it_says(path: Path) -> None:
    name = path.stem
    plain, ablated = step(toy(BASE)), step(toy(BASE, path, kept=changed_by(path)))
    assert plain.terms.keys() - ablated.terms.keys() == GONE.get(name, set())
    assert ablated.terms.keys() - plain.terms.keys() == NEW.get(name, set())
    assert PARAMETERS.get(name, lambda trained: True)(ablated.trained)
    # another network or formula
    if name not in PARAMETERS and name not in GONE and name not in NOT_IN_A_STEP:
        assert ablated.terms["total"] != plain.terms["total"]


RECIPES = json.loads((Path(__file__).parent / "recipes.json").read_text())
"""What each recipe sets otherwise than by default, all layers together."""


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_of_layers_sets_what_it_should(name: str) -> None:
    plain = by_dotted_name(Config().to_dict())
    assert by_dotted_name(load_config(CONFIGS / f"{name}.yaml").to_dict()) == plain | RECIPES[name]


def test_every_recipe_is_known() -> None:
    assert {path.stem for path in RUNS} == set(RECIPES)


@pytest.mark.parametrize(
    "path", [*RUNS, *LAYERS, *REPRODUCE], ids=lambda path: str(path.relative_to(CONFIGS))
)
def test_a_config_says_what_it_is_for(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_the_published_form() -> None:
    for task, epochs, semantic in (("s4", 15, 0.0), ("ms3", 30, 0.5)):
        for backbone in ("pvt_v2_b5", "resnet50"):
            config = load_config(
                CONFIGS / f"{task}_{'pvt' if backbone == 'pvt_v2_b5' else backbone}.yaml"
            )
            assert config.model.visual.name == backbone
            assert (config.model.channels, config.model.latent.dim, config.data.image_size) == (
                128,
                16,
                224,
            )
            assert (config.train.epochs, config.train.batch_size, config.train.learning_rate) == (
                epochs,
                4,
                1e-4,
            )
            assert (config.loss.kl, config.loss.audio_visual_matching) == (0.01, semantic)
            assert (config.model.fusion.kind, config.model.latent.fusion) == ("tpavi", "concat")
            assert (config.data.name, config.data.supervised) == (task, "auto")


def test_the_form_for_classes_is_that_of_ms3_with_a_wider_head() -> None:
    for backbone in ("pvt", "resnet50"):
        several, plain = (
            leaves(load_config(CONFIGS / f"{task}_{backbone}.yaml")) for task in ("avss", "ms3")
        )
        changed = {name for name in plain if plain[name] != several[name]}
        assert changed == {
            "model.num_classes",
            "loss.structure",
            "loss.posterior_structure",
            "data.name",
            "data.root",
            "data.num_frames",
            "train.name",
            "train.epochs",
            "train.check_val_every_n_epochs",
        }
