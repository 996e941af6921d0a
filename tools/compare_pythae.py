"""Compare the models that pythae has too with pythae's, at the same weights and the same noise.

Both libraries get the very same encoder and decoder modules. Every row is a term that both define, after the conversion
that the note names; a difference above 1e-6, relative where the value is above 1, ends with exit code 1.

pythae is no dependency. Install it where it stays apart, and name the folder:
    uv pip install --target /tmp/pythae --no-deps pythae==0.1.2
    PYTHONPATH=.:/tmp/pythae python tools/compare_pythae.py
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from ecmvae.vae.assembly import parts
from ecmvae.vae.autoregressive import InverseAutoregressiveFlow
from ecmvae.vae.beta_tc_vae import kl_parts
from ecmvae.vae.encoders import GaussianHead
from ecmvae.vae.factor_vae import FactorVAE
from ecmvae.vae.flow_posterior import FlowPosterior
from ecmvae.vae.info_vae import InfoVAE
from ecmvae.vae.learnt_priors import VampPrior
from ecmvae.vae.likelihoods import BernoulliLikelihood, GaussianLikelihood
from ecmvae.vae.rae import RAE, squared_jacobian
from ecmvae.vae.vae import VAE
from ecmvae.vae.vq_vae import VQVAE
from ecmvae.vae.wae import WAE

SHAPE, LATENTS, BATCH, HIDDEN = (1, 8, 8), 6, 32, 48
VALUES = math.prod(SHAPE)
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Row:
    """One term: its value there and here, whether both must agree, and what was converted."""

    model: str
    term: str
    theirs: float
    ours: float
    note: str = ""
    equal: bool = True

    @property
    def difference(self) -> float:
        """Absolute, or relative where the value is above 1."""
        return abs(self.theirs - self.ours) / max(1.0, abs(self.theirs))


@dataclass(frozen=True)
class Setting:
    """The modules that both libraries share, and data for them."""

    features: nn.Module
    head: GaussianHead
    code: nn.Linear
    decoder: nn.Module
    x: Tensor

    @property
    def gaussian(self) -> nn.Module:
        """The encoder of a VAE."""
        return nn.Sequential(self.features, self.head)

    @property
    def deterministic(self) -> nn.Module:
        """The encoder of an autoencoder."""
        return nn.Sequential(self.features, self.code)


def main() -> int:
    """Print the table; 0 if every row agrees, or pythae is not installed."""
    if find_spec("pythae") is None:
        print("pythae is not installed: see the head of this file")
        return 0
    import pythae.models as theirs

    torch.manual_seed(0)
    features, decoder = parts("mlp", SHAPE, HIDDEN, LATENTS)
    setting = Setting(
        features.double(),
        GaussianHead(HIDDEN, LATENTS).double(),
        nn.Linear(HIDDEN, LATENTS).double(),
        decoder.double(),
        torch.rand(BATCH, *SHAPE, dtype=torch.float64),
    )
    rows = [row for compare in COMPARISONS for row in compare(theirs, setting)]
    print("| model | term | pythae | ecmvae | difference | note |\n|---|---|---|---|---|---|")
    for row in rows:
        values = f"{row.theirs:.6f} | {row.ours:.6f} | {row.difference:.1e}{'' if row.equal else ' (by design)'}"
        print(f"| {row.model} | {row.term} | {values} | {row.note} |")
    wrong = [row for row in rows if row.equal and not row.difference <= TOLERANCE]
    print(f"{len(rows)} terms, {len(wrong)} of those that must agree do not")
    return 1 if wrong else 0


def build(
    theirs: Any, name: str, config: str, encoder: nn.Module, decoder: nn.Module, **settings: Any
) -> Any:
    """A model of pythae around given modules."""
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = encoder

        def forward(self, x: Tensor) -> Any:
            found = self.inner(x)
            if isinstance(found, Tensor):
                return ModelOutput(embedding=found)
            return ModelOutput(embedding=found.mean, log_covariance=found.logvar)

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = decoder

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.inner(z))

    settings = {"input_dim": SHAPE, "latent_dim": LATENTS, **settings}
    return getattr(theirs, name)(getattr(theirs, config)(**settings), Encoder(), Decoder())


def seeded(call: Callable[[], Any]) -> Any:
    """What a call gives after the same seed."""
    torch.manual_seed(7)
    return call()


HALF_LOG_2PI = 0.5 * VALUES * math.log(2 * math.pi)
HALF_LOG_PI = 0.5 * VALUES * math.log(math.pi)
OF_GAUSSIAN = "ours minus D/2 log 2 pi"
OF_SQUARES = "variance 1/2; ours minus D/2 log pi"


def vae(theirs: Any, at: Setting) -> Iterator[Row]:
    """VAE and beta-VAE, for both reconstruction losses."""
    for loss, likelihood, decoder, constant, note in (
        ("mse", GaussianLikelihood(1.0), at.decoder, HALF_LOG_2PI, OF_GAUSSIAN),
        (
            "bce",
            BernoulliLikelihood(),
            nn.Sequential(at.decoder, nn.Sigmoid()),
            0.0,
            "ours from logits",
        ),
    ):
        for name, beta, more in (("VAE", 1.0, {}), ("BetaVAE", 4.0, {"beta": 4.0})):
            there = build(
                theirs,
                name,
                f"{name}Config",
                at.gaussian,
                decoder,
                reconstruction_loss=loss,
                **more,
            )
            found = seeded(lambda there=there: there({"data": at.x}))
            here = VAE(at.gaussian, at.decoder, LATENTS, likelihood=likelihood, beta=beta)
            output = seeded(lambda here=here: here(at.x))
            yield Row(
                f"{name}, {loss}", "loss", found.loss.item(), output.loss.item() - constant, note
            )
            yield Row(f"{name}, {loss}", "KL", found.reg_loss.item(), output.kl.mean().item())


def beta_tc(theirs: Any, at: Setting) -> Iterator[Row]:
    """Weighted sampling agrees; pythae's stratified weights are another estimator."""
    weights = {"alpha": 0.7, "beta": 6.0, "gamma": 1.3}
    found = {}
    for stratified in (False, True):
        there = build(
            theirs,
            "BetaTCVAE",
            "BetaTCVAEConfig",
            at.gaussian,
            at.decoder,
            use_mss=stratified,
            **weights,
        )
        found[stratified] = seeded(lambda there=there: there({"data": at.x}, dataset_size=500))
    here = VAE(at.gaussian, at.decoder, LATENTS)
    posterior = here.encode(at.x)
    z = seeded(posterior.rsample)
    for sampling, stratified in (("weighted", False), ("stratified", True)):
        part = kl_parts(posterior, here.prior, z, 500, sampling)
        total = (
            0.7 * part.mutual_information
            + 6.0 * part.total_correlation
            + 1.3 * part.dimension_wise_kl
        )
        note = "" if not stratified else "pythae puts 1/N in the first column, not on the diagonal"
        yield Row(
            "BetaTCVAE",
            f"alpha MI + beta TC + gamma DW, {sampling}",
            found[stratified].reg_loss.item(),
            total.mean().item(),
            note,
            equal=not stratified,
        )
    # The same weights as pythae's, written on our table, give pythae's number: the difference is the weights alone.
    count, size = len(z), 500
    rest = (size - count + 1) / (size * (count - 1))
    table = torch.full((count, count), 1 / (count - 1))
    table.view(-1)[::count], table.view(-1)[1::count], table[count - 2, 0] = 1 / size, rest, rest
    alone = posterior.mean[None], posterior.logvar[None]
    each = -0.5 * (
        math.log(2 * math.pi) + alone[1] + (z[:, None] - alone[0]) ** 2 * (-alone[1]).exp()
    )
    log_q = torch.logsumexp(table.log().double() + each.sum(-1), 1)
    log_product = torch.logsumexp(table.log().double()[..., None] + each, 1).sum(-1)
    total = 0.7 * (posterior.log_prob(z) - log_q) + 6.0 * (log_q - log_product)
    total = total + 1.3 * (log_product - here.prior.log_prob(z))
    yield Row(
        "BetaTCVAE",
        "the same, by pythae's weights",
        found[True].reg_loss.item(),
        total.mean().item(),
        "float32 weights",
    )


def factor(theirs: Any, at: Setting) -> Iterator[Row]:
    """Both losses, at given codes; pythae's two logits differ by our one."""
    there = build(
        theirs, "FactorVAE", "FactorVAEConfig", at.gaussian, at.decoder, gamma=3.0
    ).double()
    here = FactorVAE(
        at.gaussian, at.decoder, LATENTS, likelihood=GaussianLikelihood(1.0), tc_weight=3.0
    ).double()

    class Difference(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            logits = there.discriminator(z)
            return logits[:, 0] - logits[:, 1]

    here.discriminator = Difference()  # type: ignore[assignment]
    output = seeded(lambda: here.eval()(at.x))
    shuffled = torch.randn_like(output.z)
    q = here.encode(at.x)
    _, model_loss, discriminator_loss = there.loss_function(
        here.decode(output.z), at.x, q.mean, q.logvar, output.z, shuffled
    )
    yield Row(
        "FactorVAE",
        "loss of the VAE",
        model_loss.item(),
        output.loss.item() - HALF_LOG_2PI,
        OF_GAUSSIAN,
    )
    ours = here.discriminator_loss(output.z, shuffled).item()
    yield Row(
        "FactorVAE",
        "loss of the discriminator",
        discriminator_loss.item(),
        ours,
        "one logit instead of two",
    )


def info(theirs: Any, at: Setting) -> Iterator[Row]:
    """InfoVAE under both kernels."""
    for kernel in ("imq", "rbf"):
        settings = {"alpha": 0.3, "lbd": 5.0, "kernel_choice": kernel}
        there = build(
            theirs, "INFOVAE_MMD", "INFOVAE_MMD_Config", at.gaussian, at.decoder, **settings
        )
        found = seeded(lambda there=there: there({"data": at.x}))
        likelihood = GaussianLikelihood(1.0)
        here = InfoVAE(
            at.gaussian,
            at.decoder,
            LATENTS,
            alpha=0.3,
            mmd_weight=5.0,
            kernel=kernel,
            likelihood=likelihood,
        )
        output = seeded(lambda here=here: here(at.x))
        yield Row(f"InfoVAE, {kernel}", "MMD", found.mmd_loss.item(), output.named()["mmd"].item())
        yield Row(
            f"InfoVAE, {kernel}",
            "loss",
            found.loss.item(),
            output.loss.item() - HALF_LOG_2PI,
            OF_GAUSSIAN,
        )


def wae(theirs: Any, at: Setting) -> Iterator[Row]:
    """WAE-MMD."""
    there = build(theirs, "WAE_MMD", "WAE_MMD_Config", at.deterministic, at.decoder, reg_weight=5.0)
    found = seeded(lambda: there({"data": at.x}))
    here = WAE(
        at.deterministic, at.decoder, LATENTS, mmd_weight=5.0, likelihood=GaussianLikelihood(0.5)
    )
    output = seeded(lambda: here(at.x))
    yield Row("WAE", "MMD", found.mmd_loss.item(), output.named()["mmd"].item())
    yield Row("WAE", "loss", found.loss.item(), output.loss.item() - HALF_LOG_PI, OF_SQUARES)


def rae(theirs: Any, at: Setting) -> Iterator[Row]:
    """RAE-L2, and RAE-GP with pythae's own direction and variable."""
    there = build(
        theirs, "RAE_L2", "RAE_L2_Config", at.deterministic, at.decoder, embedding_weight=0.3
    )
    found = there({"data": at.x})
    here = RAE(
        at.deterministic,
        at.decoder,
        code_weight=0.3,
        decoder_weight=0.0,
        likelihood=GaussianLikelihood(0.5),
    )
    output = here(at.x)
    note = OF_SQUARES + "; without the norm of the weights"
    yield Row(
        "RAE-L2",
        "loss",
        found.loss.item(),
        output.loss.item() - HALF_LOG_PI,
        note,
    )
    there = build(
        theirs,
        "RAE_GP",
        "RAE_GP_Config",
        at.deterministic,
        at.decoder,
        embedding_weight=0.3,
        reg_weight=2.0,
    )
    x = at.x.clone().requires_grad_()
    found = there({"data": x})
    decoded = here.decode(here.encode(x))
    ours = squared_jacobian(decoded, x, torch.ones_like(decoded)).mean()
    note = "pythae's: d x_hat / d x along ones"
    yield Row("RAE-GP", "gradient penalty", found.gen_reg_loss.item(), ours.item(), note)
    penalty = RAE(at.deterministic, at.decoder, regulariser="gradient")(at.x).named()[
        "decoder_gradient"
    ]
    note = "the paper's: d x_hat / d z in all directions"
    yield Row(
        "RAE-GP", "gradient penalty", found.gen_reg_loss.item(), penalty.item(), note, equal=False
    )
    total = output.loss.item() - HALF_LOG_PI + 2.0 * ours.item()
    yield Row("RAE-GP", "loss", found.loss.item(), total, OF_SQUARES + "; pythae's penalty")


def vamp(theirs: Any, at: Setting) -> Iterator[Row]:
    """The VampPrior at pythae's pseudo-inputs, and the KL at one draw."""
    there = build(
        theirs, "VAMP", "VAMPConfig", at.gaussian, at.decoder, number_components=7
    ).double()
    there.idle_input = there.idle_input.double()
    found = seeded(lambda: there({"data": at.x}))
    prior = VampPrior(LATENTS, SHAPE, 7).double()
    here = VAE(at.gaussian, at.decoder, LATENTS, likelihood=GaussianLikelihood(1.0), prior=prior)
    with torch.no_grad():
        prior.inputs.copy_(there.pseudo_inputs(torch.eye(7, dtype=torch.float64)).view(7, *SHAPE))
    q = here.encode(at.x)
    z = seeded(q.rsample)
    kl = (q.log_prob(z) - here.prior.log_prob(z)).mean().item()
    note = "at pythae's sample; ours draws a new one"
    yield Row("VAMP", "KL", found.reg_loss.item(), kl, note)
    note = "minus L/2 log 2 pi; pythae rounds log C to float32"
    theirs_prior = there._log_p_z(z).mean().item()
    ours = here.prior.log_prob(z).mean().item() + 0.5 * LATENTS * math.log(2 * math.pi)
    yield Row("VAMP", "log p(z)", theirs_prior, ours, note)


def iaf(theirs: Any, at: Setting) -> Iterator[Row]:
    """The flow with pythae's weights: the point, its log-determinant and the KL."""
    settings = {"n_made_blocks": 2, "n_hidden_in_made": 2, "hidden_size": 32}
    there = build(theirs, "VAE_IAF", "VAE_IAF_Config", at.gaussian, at.decoder, **settings).double()
    found = seeded(lambda: there({"data": at.x}))
    flow = InverseAutoregressiveFlow(LATENTS, 2, 32).double()
    for ours, block in zip(flow.layers, reversed(there.iaf_flow.net), strict=True):
        ours.network.load_state_dict(
            {k: v for k, v in block.net.state_dict().items() if not k.endswith("mask")}
        )
    here = VAE(at.gaussian, at.decoder, LATENTS, likelihood=GaussianLikelihood(1.0))
    z, log_q = seeded(FlowPosterior(here.encode(at.x), flow).rsample_with_log_prob)
    kl = (log_q - here.prior.log_prob(z)).mean().item()
    yield Row("IAF", "mean of z", found.z.mean().item(), z.mean().item())
    yield Row("IAF", "KL", found.reg_loss.item(), kl, "at pythae's draw")
    loss = kl - here.likelihood.log_prob(here.decode(z), at.x).mean().item() - HALF_LOG_2PI
    yield Row("IAF", "loss", found.loss.item(), loss, OF_GAUSSIAN)


def vq(theirs: Any, at: Setting) -> Iterator[Row]:
    """Both kinds of book, in float32 for pythae's one-hot table; pythae quantises a vector number by number."""
    torch.manual_seed(1)
    encoder, decoder, x = at.deterministic.float(), at.decoder.float(), at.x.float()
    for ema in (False, True):
        settings = {"num_embeddings": 16, "use_ema": ema, "commitment_loss_factor": 0.25}
        there = build(theirs, "VQVAE", "VQVAEConfig", encoder, decoder, **settings)
        here = VQVAE(
            encoder,
            decoder,
            LATENTS,
            1,
            codes=16,
            decay=0.99 if ema else None,
            likelihood=GaussianLikelihood(0.5),
        )
        book = there.quantizer.embeddings if ema else there.quantizer.embeddings.weight
        with torch.no_grad():
            book.copy_(torch.randn(16, 1))
            here.book.entries.copy_(book)
        found, output = there.eval()({"data": x}), here.eval()(x)
        terms = output.named()
        ours = (0.25 * terms["commitment"] + terms.get("book", torch.zeros(()))).item() / LATENTS
        name = "VQ-VAE, " + ("moving average" if ema else "loss term")
        same = torch.equal(found.quantized_indices.flatten(), here.indices(x).flatten())
        yield Row(name, "share of equal codes", 1.0, float(same))
        yield Row(
            name,
            "commitment and book",
            found.vq_loss.item(),
            ours,
            "ours divided by the width of a code",
        )
        reconstruction = -output.log_likelihood.mean().item() - HALF_LOG_PI
        yield Row(
            name,
            "reconstruction",
            found.recon_loss.item(),
            reconstruction,
            OF_SQUARES + "; float32",
        )


COMPARISONS = (vae, beta_tc, factor, info, wae, rae, vamp, iaf, vq)


if __name__ == "__main__":
    sys.exit(main())
