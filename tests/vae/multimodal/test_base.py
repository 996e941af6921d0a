"""What every multimodal family must get right, on a world whose log p(x) is known."""

import pytest
import torch

from ecmvae.vae.multimodal import JMVAE, MVAE


def train(model, data, steps=250):
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    count = len(next(iter(data.values())))
    for _ in range(steps):
        index = torch.randint(count, (64,))
        optimizer.zero_grad()
        model({name: x[index] for name, x in data.items()}).loss.backward()
        optimizer.step()
    return model.eval()


_TRAINED = {}


def trained(kind, make, world):
    """A model of that family after training; each is trained once."""
    if kind not in _TRAINED:
        torch.manual_seed(1)
        _TRAINED[kind] = train(make(kind), world.sample(2000))
    torch.manual_seed(2)
    return _TRAINED[kind]


def test_training_brings_the_estimate_near_the_exact_log_likelihood_from_below(kind, make, world):
    model = trained(kind, make, world)
    test = world.sample(300)
    exact = world.log_prob(test)
    with torch.no_grad():
        elbo = torch.stack([model(test).elbo for _ in range(20)]).mean(0)
        estimate = model.log_likelihood(test, 1000)
    standard_error = (exact - estimate).std() / 300**0.5
    assert exact.mean() - 1.5 < estimate.mean() < exact.mean() + 4 * standard_error
    assert elbo.mean() < estimate.mean() + 0.05


def test_true_decoders_give_the_exact_joint_and_single_log_likelihoods(kind, make, truth, world):
    model = truth(make(kind), world).eval()
    data = world.sample(4)
    with torch.no_grad():
        # Untrained encoders are wide proposals: importance sampling still reaches the exact values.
        joint = model.log_likelihood(data, 60_000)
        single = model.log_likelihood({"sight": data["sight"]}, 60_000)
    torch.testing.assert_close(joint, world.log_prob(data), rtol=0, atol=0.3)
    torch.testing.assert_close(single, world.log_prob({"sight": data["sight"]}), rtol=0, atol=0.3)


def test_a_missing_modality_is_the_same_left_out_or_masked(kind, make, world):
    model, data = make(kind).eval(), world.sample(5)
    masked = {"sound": torch.full_like(data["sound"], torch.nan), "sight": data["sight"]}
    present = {"sound": torch.zeros(5, dtype=torch.bool)}
    alone, hidden = model.joint({"sight": data["sight"]}), model.joint(masked, present)
    torch.testing.assert_close(alone.mean, hidden.mean)
    z = torch.randn(5, 3)
    torch.testing.assert_close(alone.log_prob(z), hidden.log_prob(z))
    for name, image in model.generate(masked, ["sound", "sight"], present).items():
        torch.testing.assert_close(image, model.generate({"sight": data["sight"]}, [name])[name])


def test_samples_with_and_without_a_modality_train_together(kind, make, world):
    if kind is JMVAE:
        pytest.skip("JMVAE learns from complete samples; refused in test_product")
    model, data = make(kind), world.sample(6)
    data["sound"][:3] = torch.nan
    present = {"sound": torch.tensor([False] * 3 + [True] * 3)}
    output = model(data, present)
    assert torch.isfinite(output.loss)
    assert output.log_likelihoods["sound"][:3].abs().max() == 0
    output.loss.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_the_callers_data_is_left_alone_and_batches_score_as_singles(kind, make, truth, world):
    model, data = truth(make(kind), world).eval(), world.sample(3)
    copies = {name: x.clone() for name, x in data.items()}
    with torch.no_grad():
        together = model.log_likelihood(data, 20_000)
        apart = torch.cat(
            [
                model.log_likelihood({k: x[i : i + 1] for k, x in data.items()}, 20_000)
                for i in range(3)
            ]
        )
    assert list(data) == list(copies)
    assert all(torch.equal(data[name], copies[name]) for name in data)
    torch.testing.assert_close(together, apart, rtol=0, atol=0.3)


def test_loss_is_a_mean_over_the_batch(kind, make, world):
    model, data = make(kind), world.sample(200)
    twice = {name: torch.cat([x, x]) for name, x in data.items()}
    with torch.no_grad():
        once = torch.stack([model(data).loss for _ in range(30)]).mean()
        doubled = torch.stack([model(twice).loss for _ in range(30)]).mean()
    assert doubled.item() == pytest.approx(once.item(), rel=0.05)


def test_forward_without_gradients(kind, make, world):
    options = {"gradient": "dreg"} if kind.__name__ == "MMVAE" else {}
    with torch.no_grad():
        assert torch.isfinite(make(kind, **options)(world.sample(4)).loss)


def test_generates_every_modality_from_any_and_from_the_prior(kind, make, world):
    model, data = make(kind).eval(), world.sample(4)
    for source in data:
        images = model.generate({source: data[source]}, list(data))
        assert {name: image.shape for name, image in images.items()} == {
            name: x.shape for name, x in data.items()
        }
    assert model.sample(5)["sound"].shape == (5, 6)


def test_generate_uses_every_given_modality(kind, make, world):
    torch.manual_seed(0)
    model, data = make(kind).eval(), world.sample(4)
    before = model.generate(data, list(data))
    for changed, other in (("sound", "sight"), ("sight", "sound")):
        after = model.generate({**data, changed: data[changed] + 1.0}, [other])[other]
        assert ((after - before[other]).abs().amax(1) > 1e-2).all()


def test_generate_from_two_modalities_is_nearer_to_the_truth_than_from_one(kind, make, world):
    """Trained on a linear world, where z is known better from two modalities than from either."""
    model = trained(kind, make, world)
    z = torch.randn(2000, 3)
    clean = {name: z @ weight.T for name, weight in world.weights.items()}
    data = {name: x + torch.randn_like(x) for name, x in clean.items()}

    def error(given, target):
        with torch.no_grad():
            return (
                (model.generate({n: data[n] for n in given}, [target])[target] - clean[target])
                .square()
                .mean()
            )

    for target, other in (("sound", "sight"), ("sight", "sound")):
        assert error([target, other], target) < error([other], target)


def test_bad_input_says_what_to_do(kind, make, world):
    model, data = make(kind), world.sample(3)
    with pytest.raises(ValueError, match="unknown modality smell: this model has sound, sight"):
        model.joint({"smell": torch.zeros(3, 2)})
    with pytest.raises(ValueError, match="unknown modality smell"):
        model.generate(data, ["smell"])
    for call in (
        model,
        model.joint,
        lambda none: model.generate(none, ["sound"]),
        lambda n: model.log_likelihood(n, 5),
    ):
        with pytest.raises(
            ValueError, match="no modality is given: give at least one of sound, sight"
        ):
            call({})
    with pytest.raises(ValueError, match="one batch size"):
        model.joint({"sound": data["sound"], "sight": data["sight"][:2]})
    with pytest.raises(ValueError, match="no modality at all"):
        model.joint({"sight": data["sight"]}, {"sight": torch.tensor([True, True, False])})
    with pytest.raises(ValueError, match="NaN"):
        model.joint({"sight": torch.full((3, 4), torch.nan)})
    with pytest.raises(ValueError, match="at least 1"):
        model.log_likelihood(data, 0)
    with pytest.raises(ValueError, match="beta"):
        make(kind, beta=-1.0)
    with pytest.raises(ValueError, match="unknown modality"):
        make(kind, weights={"smell": 1.0})


def test_drawn_data_has_the_covariance_of_the_world(make, truth, world):
    """The means of the decoders lack the likelihood's own variance; a draw has it."""
    model = truth(make(MVAE), world).eval()
    with torch.no_grad():
        drawn = model.sample(20_000, torch.Generator().manual_seed(0), draw=True)
        means = model.sample(20_000, torch.Generator().manual_seed(0))
    for name, weight in world.weights.items():
        torch.testing.assert_close(means[name].T.cov(), weight @ weight.T, rtol=0.1, atol=0.08)
        expected = weight @ weight.T + torch.eye(len(weight))  # the world's noise has variance 1
        torch.testing.assert_close(drawn[name].T.cov(), expected, rtol=0.1, atol=0.08)
