"""The multivariate normal with a full covariance matrix: density, marginals, conditionals, KL.

f(x) = exp(-1/2 (x - mu)^T Sigma^-1 (x - mu)) / sqrt((2 pi)^k det Sigma). C. M. Bishop, "Pattern recognition and machine
learning", 2006, section 2.3, eqs. 2.81, 2.82 (conditional) and 2.98 (marginal).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ecmvae.vae.gaussian import check_count, standard_normal_like


@dataclass(frozen=True, eq=False)
class MultivariateGaussian:
    """N(mean, covariance).

    Attributes:
        mean: (D,).
        covariance: (D, D), symmetric and positive definite.
    """

    mean: Float[Tensor, " d"]
    covariance: Float[Tensor, "e f"]

    def __post_init__(self) -> None:
        """Refuse what is not a covariance matrix.

        Raises:
            ValueError: Unless it is square, symmetric and positive definite, of the mean's length.
        """
        size, sigma = len(self.mean), self.covariance
        if sigma.shape != (size, size):
            raise ValueError(
                f"a mean of {size} numbers needs a {size}x{size} covariance, got {tuple(sigma.shape)}"
            )
        if not torch.allclose(sigma, sigma.T, rtol=1e-5, atol=1e-8):
            raise ValueError(
                "a covariance matrix is symmetric, cov(x, y) = cov(y, x): this one is not"
            )
        if bool(torch.linalg.cholesky_ex(sigma).info):
            raise ValueError(
                "a covariance matrix is positive definite: this one has an eigenvalue of 0 or less"
            )

    @classmethod
    def fit(cls, x: Float[Tensor, "n d"]) -> MultivariateGaussian:
        """Maximum likelihood: the mean of n samples, and their covariance with 1/n."""
        if len(x) < 2:
            raise ValueError(f"a covariance needs at least 2 samples, got {len(x)}")
        mean = x.mean(0)
        return cls(mean, (x - mean).T @ (x - mean) / len(x))

    @property
    def factor(self) -> Float[Tensor, "d d"]:
        """Lower triangular A with A A^T = covariance."""
        lower: Tensor = torch.linalg.cholesky(self.covariance)
        return lower

    @property
    def log_determinant(self) -> Float[Tensor, ""]:
        """Log det of the covariance."""
        return 2.0 * self.factor.diagonal().log().sum()

    @property
    def determinant(self) -> Float[Tensor, ""]:
        """Det Sigma, the squared volume of the density's unit ellipsoid relative to the unit ball."""
        return self.log_determinant.exp()

    @property
    def correlation(self) -> Float[Tensor, "d d"]:
        """cov(i, j) / (sigma_i sigma_j), with ones on the diagonal."""
        sigma = self.covariance.diagonal().sqrt()
        return self.covariance / sigma[:, None] / sigma[None]

    def squared_distance(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "..."]:
        """Mahalanobis: (x - mu)^T Sigma^-1 (x - mu), the height of which ellipse x lies on."""
        centred = (x - self.mean).reshape(-1, len(self.mean))
        solved = torch.linalg.solve_triangular(self.factor, centred.T, upper=False)
        distances: Tensor = solved.square().sum(0).reshape(x.shape[:-1])
        return distances

    def log_prob(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "..."]:
        """Log-density, in nats."""
        constant = len(self.mean) * math.log(2.0 * math.pi) + self.log_determinant
        return -0.5 * (self.squared_distance(x) + constant)

    def sample(self, count: int, generator: torch.Generator | None = None) -> Float[Tensor, "n d"]:
        """Draw (n, D): mu + A eps, eps from N(0, I)."""
        like = self.mean.new_empty(check_count(count, "count"), len(self.mean))
        noise = standard_normal_like(like).rsample(generator=generator)
        return self.mean + noise @ self.factor.T

    def entropy(self) -> Float[Tensor, ""]:
        """1/2 log det(2 pi e Sigma), in nats."""
        return 0.5 * (len(self.mean) * (1.0 + math.log(2.0 * math.pi)) + self.log_determinant)

    def kl(self, other: MultivariateGaussian) -> Float[Tensor, ""]:
        """KL(self || other) in nats: 1/2 (tr S_q^-1 S_p + d^T S_q^-1 d - D + log det S_q - log det S_p)."""
        ratio = torch.cholesky_solve(self.covariance, other.factor).trace()
        distance = other.squared_distance(self.mean)
        logs = other.log_determinant - self.log_determinant
        return 0.5 * (ratio + distance - len(self.mean) + logs)

    def marginal(self, indices: Sequence[int]) -> MultivariateGaussian:
        """The density of some of the variables, in the order given: their means and covariances."""
        kept = self._checked(indices)
        return MultivariateGaussian(self.mean[kept], self.covariance[kept][:, kept])

    def conditional(
        self, indices: Sequence[int], values: Float[Tensor, " k"]
    ) -> MultivariateGaussian:
        """The density of the other variables when those of `indices` have `values`.

        mean_a + S_ab S_bb^-1 (x_b - mean_b), and the covariance S_aa - S_ab S_bb^-1 S_ba, which is the same for every
        value.

        Raises:
            ValueError: When all variables are given, or an index is not one of them.
        """
        given = self._checked(indices)
        if len(values) != len(given):
            raise ValueError(f"{len(given)} variables have {len(values)} values: give one for each")
        others = [index for index in range(len(self.mean)) if index not in given]
        if not others:
            raise ValueError("every variable is given: nothing is left to have a density")
        between = self.covariance[others][:, given]
        gain = torch.linalg.solve(self.covariance[given][:, given], between.T).T
        covariance = self.covariance[others][:, others] - gain @ between.T
        mean = self.mean[others] + gain @ (values - self.mean[given])
        return MultivariateGaussian(mean, 0.5 * (covariance + covariance.T))

    def _checked(self, indices: Sequence[int]) -> list[int]:
        chosen = list(indices)
        if (
            not chosen
            or len(set(chosen)) != len(chosen)
            or not all(0 <= each < len(self.mean) for each in chosen)
        ):
            raise ValueError(
                f"give different variables between 0 and {len(self.mean) - 1}, got {chosen}"
            )
        return chosen
