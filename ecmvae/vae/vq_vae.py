"""VQ-VAE: codes are entries of a learnt code book.

van den Oord et al., "Neural discrete representation learning", 2017 (arXiv:1711.00937). An encoder's vector e is
replaced by the nearest entry of the book, z_q; the gradient passes straight through (eq. 2), and

    loss = -log p(x|z_q) + beta |e - sg(z_q)|^2        (eq. 3, sg stops the gradient)

while the book follows the vectors by an exponential moving average (their appendix A.1), or, with `decay=None`, by the
term |sg(e) - z_q|^2 of eq. 3. The prior over the codes is uniform in training: KL = log K a position.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from ecmvae.vae.autoencoder import AutoEncoder, AutoEncoderOutput, check_batch_statistics
from ecmvae.vae.gaussian import check_count
from ecmvae.vae.penalties import Penalty
from ecmvae.vae.priors import Prior


class CodeBook(nn.Module):
    """K vectors of D numbers.

    Attributes:
        entries: (K, D); a parameter if `decay` is None, otherwise a buffer that `follow` moves.
        counts: (K,), how many vectors each entry stands for, in the moving average.
        sums: (K, D), their sum, in the moving average.
    """

    entries: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, codes: int, code_dim: int, decay: float | None = 0.99) -> None:
        """Draw the entries uniformly between -1/K and 1/K."""
        super().__init__()
        if decay is not None and not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.decay = decay
        entries = (
            2 * torch.rand(check_count(codes, "codes"), check_count(code_dim, "code_dim")) - 1
        ) / codes
        if decay is None:
            self.entries = nn.Parameter(entries)
        else:
            self.register_buffer("entries", entries)
            self.register_buffer("counts", torch.ones(codes))
            self.register_buffer("sums", entries.clone())

    def nearest(self, vectors: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
        """Index of the nearest entry of each vector."""
        return torch.cdist(vectors, self.entries).argmin(1)

    @torch.no_grad()
    def follow(self, vectors: Float[Tensor, "n d"], chosen: Int[Tensor, " n"]) -> None:
        """Move each entry towards the mean of the vectors that chose it.

        Counts and sums decay alike, so that an entry is a weighted mean of all vectors that ever chose it; one that
        nobody chooses keeps its place.
        """
        if self.decay is None:
            return
        one_hot = nn.functional.one_hot(chosen, len(self.entries)).to(vectors.dtype)
        self.counts.lerp_(one_hot.sum(0), 1.0 - self.decay)
        self.sums.lerp_(one_hot.T @ vectors, 1.0 - self.decay)
        alive = self.counts > 1e-8
        self.entries.copy_(
            torch.where(alive[:, None], self.sums / self.counts[:, None], self.entries)
        )


class UniformCodes(Prior):
    """Positions that hold any entry of a book with equal chance: draws (n, D * P), a decoder's input when flattened."""

    def __init__(self, book: CodeBook, positions: int) -> None:
        super().__init__(book.entries.shape[1] * positions)
        # in a list: the book stays a part of the model only
        self._book, self.positions = ([book], positions)

    def log_prob(self, z: Float[Tensor, "... l"]) -> Float[Tensor, "..."]:
        """-P log K at every code."""
        return z.new_full(z.shape[:-1], -self.positions * math.log(len(self._book[0].entries)))

    def sample(
        self, count: int, like: Tensor, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n l"]:
        """(count, D * P) draws."""
        book = self._book[0].entries
        index = torch.randint(
            len(book), (count, self.positions), generator=generator, device=book.device
        )
        return rearrange(book[index].detach(), "n p d -> n (d p)").to(like)


class VQVAE(AutoEncoder):
    """`AutoEncoder` with a code book between encoder and decoder."""

    prior: Prior

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        positions: int,
        code_dim: int,
        *,
        codes: int = 64,
        commitment: float = 0.25,
        decay: float | None = 0.99,
        **options: Any,
    ) -> None:
        """Join an encoder and a decoder.

        Args:
            encoder: (n, *event) -> (n, D * P): P vectors of D numbers, the D numbers on the slower axis, as a
                flattened map (n, D, H, W) has them.
            decoder: (n, D * P) -> (n, *event) logits or means.
            positions: P.
            code_dim: D.
            codes: K, entries of the book.
            commitment: beta, 0 or more.
            decay: Of the moving average; None trains the book by its own loss term.
            options: `likelihood` and `noise_std` of `AutoEncoder`.

        Raises:
            ValueError: For a number outside its range.
        """
        super().__init__(encoder, decoder, **options)
        if commitment < 0:
            raise ValueError(f"commitment must be >= 0, got {commitment}")
        self.book, self.positions, self.commitment = (
            CodeBook(codes, code_dim, decay),
            positions,
            commitment,
        )
        self.prior = UniformCodes(self.book, check_count(positions, "positions"))

    def vectors(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n p d"]:
        """What the encoder makes of x, before quantisation."""
        flat: Tensor = self.encoder(x)
        return rearrange(flat, "n (d p) -> n p d", p=self.positions)

    def indices(self, x: Float[Tensor, "n ..."]) -> Int[Tensor, "n p"]:
        """The code of x: an entry's number at every position."""
        vectors = self.vectors(x)
        return self.book.nearest(vectors.flatten(0, 1)).view(vectors.shape[:2])

    def encode(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n l"]:
        """The quantised code (n, D * P)."""
        return self._flat(self._quantised(self.vectors(x))[0])

    def forward(self, x: Float[Tensor, "n ..."]) -> AutoEncoderOutput:
        """As `AutoEncoder.forward`; in training the book follows the vectors afterwards."""
        self.likelihood.check(x)
        check_batch_statistics(self, x)
        vectors = self.vectors(self.corrupted(x))
        quantised, chosen = self._quantised(vectors)
        # the gradient passes straight through
        code = self._flat(vectors + (quantised - vectors).detach())
        parameters = self.decode(code)
        log_likelihood = self.likelihood.log_prob(parameters, x)
        penalties = self._book_penalties(vectors, quantised, chosen)
        if self.training:
            self.book.follow(vectors.detach().flatten(0, 1), chosen.flatten())
        return AutoEncoderOutput(
            parameters=parameters, code=code, log_likelihood=log_likelihood, penalties=penalties
        )

    def elbo(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
        """Log p(x|z_q) - P log K: a bound on log p(x) under the uniform prior, since q(z|x) is one code."""
        code = self.encode(x)
        return self.likelihood.log_prob(self.decode(code), x) + self.prior.log_prob(code)

    def _quantised(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest entries (n, P, D), and their numbers (n, P)."""
        chosen = self.book.nearest(vectors.flatten(0, 1)).view(vectors.shape[:2])
        return self.book.entries[chosen], chosen

    def _book_penalties(
        self, vectors: Tensor, quantised: Tensor, chosen: Tensor
    ) -> dict[str, Penalty]:
        """Squared distances in the sum over positions; the perplexity, how many entries are in use, is only logged."""
        commitment = (vectors - quantised.detach()).square().sum((1, 2)).mean()
        share = (
            torch.bincount(chosen.flatten(), minlength=len(self.book.entries)).to(vectors.dtype)
            / chosen.numel()
        )
        found = {
            "commitment": Penalty(self.commitment, commitment),
            "perplexity": Penalty(0.0, torch.special.entr(share).sum().exp()),
        }
        if self.book.decay is None:
            found["book"] = Penalty(1.0, (quantised - vectors.detach()).square().sum((1, 2)).mean())
        return found

    @staticmethod
    def _flat(vectors: Tensor) -> Tensor:
        return rearrange(vectors, "n p d -> n (d p)")
