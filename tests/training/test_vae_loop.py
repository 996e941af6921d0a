"""The VAE trainer: resume bit for bit, early stopping, best weights, bad losses."""

import json
import os
import pickle
import signal

import pytest
import torch
from torch import nn

from ecmvae.errors import UserError
from ecmvae.training.vae_loop import FitSettings, fit
from ecmvae.vae.classic import digits
from ecmvae.vae.decoders import MLPDecoder
from ecmvae.vae.encoders import ConvEncoder, GaussianHead
from ecmvae.vae.fully_connected import mlp_autoencoder, mlp_vae
from ecmvae.vae.likelihoods import GaussianLikelihood
from ecmvae.vae.vae import VAE


@pytest.fixture
def data():
    images = torch.from_numpy(digits()[0]).flatten(1)
    return {"x": images[:400]}, {"x": images[400:500]}


def make(beta=1.0):
    torch.manual_seed(5)
    return mlp_vae((64,), 32, 4, beta=beta)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_training_lowers_the_loss_and_reports_its_terms(data):
    model = make()
    result = fit(model, data[0], FitSettings(epochs=5, device="cpu"), progress=False)
    losses = [epoch["loss"] for epoch in result.history]
    assert losses[-1] < losses[0] - 1
    assert not model.training
    for epoch in result.history:
        assert epoch["loss"] == pytest.approx(-epoch["elbo"], rel=1e-5)
        assert epoch["elbo"] == pytest.approx(epoch["log_likelihood"] - epoch["kl"], rel=1e-5)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_loop_is_adam_on_the_loss(data, schedule):
    """The first epoch against the same steps written out."""
    settings = FitSettings(epochs=1, seed=3, device="cpu", schedule=schedule)
    ours, plain = make(), make()
    fit(ours, data[0], settings, progress=False)
    torch.manual_seed(3)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(3))
    optimizer = torch.optim.Adam(plain.parameters(), 1e-3)
    annealing = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    for start in range(0, 400, 100):
        optimizer.zero_grad()
        plain(data[0]["x"][order[start : start + 100]]).loss.backward()
        optimizer.step()
        if schedule == "cosine":
            annealing.step()
    torch.testing.assert_close(weights(ours), weights(plain), rtol=0, atol=1e-7)


def test_the_kls_weight_grows_over_the_warm_up_and_validation_takes_it_whole(data):
    betas = []

    class Watched(VAE):
        def forward(self, x, latents="sample"):
            betas.append((self.training, self.beta))
            return super().forward(x, latents)

    plain = make(beta=2.0)
    model = Watched(plain.encoder, plain.decoder, 4, beta=2.0)
    settings = FitSettings(epochs=3, kl_warmup_epochs=2, device="cpu")  # 4 steps an epoch
    history = fit(model, data[0], settings, validation=data[1], progress=False).history
    steps = [beta for training, beta in betas if training]
    assert steps == [2.0 * min(1.0, step / 8) for step in range(12)]
    assert {beta for training, beta in betas if not training} == {2.0}
    assert model.beta == 2.0
    assert history[0]["loss"] < -history[0]["log_likelihood"] + 2.0 * history[0]["kl"]


def test_warm_up_lets_a_heavy_kl_begin_with_latents_in_use(data):
    """Under beta 4 the codes collapse within five epochs; in the first quarter of a warm-up they are in use."""
    kls = {}
    for epochs in (0, 20):
        model = make(beta=4.0)
        settings = FitSettings(epochs=5, kl_warmup_epochs=epochs, learning_rate=3e-3, device="cpu")
        kls[epochs] = fit(model, data[0], settings, progress=False).history[-1]["kl"]
    assert kls[20] > kls[0] + 1.0


def test_two_runs_of_one_seed_are_equal(data):
    models = make(), make()
    for model in models:
        fit(model, data[0], FitSettings(epochs=2, device="cpu"), progress=False)
    assert torch.equal(*map(weights, models))


def test_resume_ends_as_if_it_had_never_stopped(data, tmp_path):
    whole, stopped = make(), make()
    expected = fit(
        whole,
        data[0],
        FitSettings(epochs=4, kl_warmup_epochs=3, device="cpu"),
        validation=data[1],
        progress=False,
    )
    fit(
        stopped,
        data[0],
        FitSettings(epochs=2, kl_warmup_epochs=3, device="cpu"),
        validation=data[1],
        folder=tmp_path,
        progress=False,
    )
    resumed = make(beta=1.0)
    result = fit(
        resumed,
        data[0],
        FitSettings(epochs=4, kl_warmup_epochs=3, device="cpu"),
        validation=data[1],
        folder=tmp_path,
        resume=True,
        progress=False,
    )
    assert torch.equal(weights(whole), weights(resumed))
    assert result.history == expected.history
    assert json.loads((tmp_path / "history.json").read_text()) == result.history
    assert list(tmp_path.glob("tensorboard/events*"))


def test_a_damaged_last_pt_falls_back_to_the_one_before(data, tmp_path, caplog):
    whole, torn = make(), make()
    expected = fit(
        whole, data[0], FitSettings(epochs=4, device="cpu"), validation=data[1], progress=False
    )
    fit(
        torn,
        data[0],
        FitSettings(epochs=3, device="cpu"),
        validation=data[1],
        folder=tmp_path,
        progress=False,
    )
    last = tmp_path / "last.pt"
    last.write_bytes(last.read_bytes()[:-100])
    resumed, settings = make(), FitSettings(epochs=4, device="cpu")
    with caplog.at_level("WARNING", logger="ecmvae"):
        result = fit(
            resumed,
            data[0],
            settings,
            validation=data[1],
            folder=tmp_path,
            resume=True,
            progress=False,
        )
    assert caplog.messages[0].startswith(f"{last} is damaged or of another model; going on from ")
    assert caplog.messages[0].endswith("previous.pt, after 2 epochs")
    assert torch.equal(weights(whole), weights(resumed))
    assert result.history == expected.history


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epoch", -5),
        ("epoch", 10**18),
        ("best_epoch", 7),
        ("best_loss", "low"),
        ("history", [{"loss": "low"}]),
        ("best_weights", {}),
        ("model", []),
        ("optimizer", None),
        ("order", torch.zeros(3, dtype=torch.uint8)),
        ("random", None),
    ],
)
def test_a_last_pt_that_training_has_not_left_is_refused(data, tmp_path, name, value):
    settings = FitSettings(epochs=1, device="cpu")
    fit(make(), data[0], settings, folder=tmp_path, progress=False)
    file = tmp_path / "last.pt"
    torch.save(torch.load(file, weights_only=True) | {name: value}, file)
    with pytest.raises(
        UserError, match=r"last.pt is damaged or of another model: train in another folder"
    ):
        fit(make(), data[0], settings, folder=tmp_path, resume=True, progress=False)


def test_a_last_pt_that_is_cut_of_another_model_or_holds_code_is_refused(data, tmp_path):
    settings, file = FitSettings(epochs=1, device="cpu"), tmp_path / "last.pt"
    fit(make(), data[0], settings, folder=tmp_path, progress=False)
    whole, saved = file.read_bytes(), torch.load(file, weights_only=True)
    saved["optimizer"]["state"][0]["exp_avg"] = torch.zeros(2)
    torch.save(saved, tmp_path / "moments.pt")
    for content in (whole[:-100], b"", pickle.dumps(print), (tmp_path / "moments.pt").read_bytes()):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"last.pt is damaged or of another model"):
            fit(make(), data[0], settings, folder=tmp_path, resume=True, progress=False)
    file.write_bytes(whole)
    torch.manual_seed(5)
    with pytest.raises(UserError, match=r"last.pt is damaged or of another model"):
        fit(mlp_vae((64,), 16, 4), data[0], settings, folder=tmp_path, resume=True, progress=False)


def test_early_stop_keeps_the_best_weights(data):
    model = make()
    settings = FitSettings(epochs=60, patience=2, learning_rate=0.1, device="cpu")
    result = fit(model, data[0], settings, validation=data[1], progress=False)
    losses = [epoch["validation/loss"] for epoch in result.history]
    assert result.best_epoch == losses.index(min(losses))
    assert result.stopped_early
    assert len(losses) == result.best_epoch + 3
    torch.manual_seed(0)
    assert model(data[1]["x"]).loss.item() == pytest.approx(min(losses), rel=1e-3)


def test_validation_does_not_disturb_training(data):
    models = make(), make()
    fit(models[0], data[0], FitSettings(epochs=1, device="cpu"), progress=False)
    fit(models[1], data[0], FitSettings(epochs=1, device="cpu"), validation=data[1], progress=False)
    assert torch.equal(*map(weights, models))


def test_a_last_batch_of_one_is_left_out_for_batch_norm():
    encoder = ConvEncoder(1, (4,), 8)
    model = VAE(
        nn.Sequential(encoder, GaussianHead(encoder.out_features, 2)),
        MLPDecoder(2, (8,), (1, 8, 8)),
        2,
    )
    result = fit(
        model,
        {"x": torch.rand(11, 1, 8, 8)},
        FitSettings(epochs=1, batch_size=5, device="cpu"),
        progress=False,
    )
    assert len(result.history) == 1


def test_a_loss_that_is_not_finite_stops_with_advice(data):
    model = mlp_autoencoder((64,), 32, 4, likelihood=GaussianLikelihood())
    with torch.no_grad():
        model.decoder.layers[-1].bias[0] = torch.inf
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        fit(model, data[0], FitSettings(epochs=1, device="cpu"), progress=False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda data, path: FitSettings(epochs=0), "epochs must be at least 1"),
        (lambda data, path: FitSettings(learning_rate=0.0), "learning_rate"),
        (
            lambda data, path: fit(
                mlp_autoencoder((64,), 8, 2), data[0], FitSettings(kl_warmup_epochs=1)
            ),
            "kl_warmup_epochs has no effect on AutoEncoder, which has no KL",
        ),
        (
            lambda data, path: fit(make(), data[0], FitSettings(patience=1)),
            "patience needs validation",
        ),
        (
            lambda data, path: fit(make(), data[0], FitSettings(), folder=path, resume=True),
            "nothing to resume",
        ),
    ],
)
def test_bad_input_says_what_to_do(data, tmp_path, call, message):
    with pytest.raises(UserError, match=message):
        call(data, tmp_path)


class Interrupting(nn.Module):
    """A model that sends this process a signal in its k-th training step."""

    def __init__(self, model, at, number):
        super().__init__()
        self.model, self.at, self.number, self.steps = model, at, number, 0

    def forward(self, x):
        if self.training:
            self.steps += 1
            if self.steps == self.at:
                os.kill(os.getpid(), self.number)
        return self.model(x)


@pytest.mark.parametrize(
    ("number", "raised", "at"),
    [(signal.SIGTERM, SystemExit, 6), (signal.SIGINT, KeyboardInterrupt, 2)],
)
def test_a_signal_within_an_epoch_loses_nothing(data, tmp_path, number, raised, at):
    """Stopped in step 6 of 12 (the second of its epoch) or in the first epoch, and resumed: equal to the bit."""
    settings = FitSettings(epochs=3, device="cpu")
    whole = Interrupting(make(), 0, number)
    expected = fit(
        whole, data[0], settings, validation=data[1], folder=tmp_path / "whole", progress=False
    )
    before = signal.getsignal(number)
    stopped = Interrupting(make(), at, number)
    with pytest.raises(raised):
        fit(stopped, data[0], settings, validation=data[1], folder=tmp_path / "run", progress=False)
    assert signal.getsignal(number) is before
    assert stopped.steps == at  # the step under way is finished, no other begins
    torch.rand(7)
    resumed = Interrupting(make(), 0, number)
    result = fit(
        resumed,
        data[0],
        settings,
        validation=data[1],
        folder=tmp_path / "run",
        resume=True,
        progress=False,
    )
    assert resumed.steps == 12 - at
    assert torch.equal(weights(resumed), weights(whole))
    assert result.history == expected.history


def test_a_finished_run_says_so(data, tmp_path, caplog):
    settings = FitSettings(epochs=1, device="cpu")
    fit(make(), data[0], settings, folder=tmp_path, progress=False)
    fit(make(), data[0], settings, folder=tmp_path, resume=True, progress=False)
    assert "the run has finished, after 1 epochs: nothing is left to train" in caplog.text


def test_bytes_are_pictures(data):
    """Training on bytes is training on their values over 255."""
    pictures = (data[0]["x"] * 255).round().byte()
    ours, floats = make(), make()
    settings = FitSettings(epochs=1, device="cpu")
    fit(ours, {"x": pictures}, settings, progress=False)
    fit(floats, {"x": pictures.float() / 255}, settings, progress=False)
    assert torch.equal(weights(ours), weights(floats))
