"""Masked multi-label logistic regression on frozen features: one linear head per category."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from .config import FitConfig
from .data import UNKNOWN

BLOCK_ROWS = 4096  # rows of one step over the matrix: they stay in the cache between the two products
# Mean of p (1 - p), the curvature of the logistic loss, as far as the preconditioner needs it.
TYPICAL_CURVATURE = 0.1


@dataclass(frozen=True)
class Heads:
    """Plain linear heads on raw features: weight float32 [C, hidden], bias float32 [C]."""

    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    iterations: int

    def logits(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """float32 [n, C] of features float32 [n, hidden]."""
        z: npt.NDArray[np.float32] = x @ self.weight.T + self.bias
        return z


def cell_weights(
    labels: npt.NDArray[np.int8], row_weight: npt.NDArray[np.float64], positive_exponent: float
) -> npt.NDArray[np.float32]:
    """Weights float32 [n, C] of the loss: 0 where the label is unknown; each column adds up to 1.

    Positives weigh more by (negative weight / positive weight) ** positive_exponent: 0 leaves them as they
    are, 1 makes both sides equal. Raises ValueError for a column that lacks positives or negatives.
    """
    weights = np.where(labels == UNKNOWN, 0.0, row_weight[:, None])
    positive = labels == 1
    above = np.where(positive, weights, 0.0).sum(axis=0)
    below = np.where(positive, 0.0, weights).sum(axis=0)
    if not (above > 0).all() or not (below > 0).all():
        raise ValueError("a category lacks positives or negatives")
    weights *= np.where(positive, (below / above) ** positive_exponent, 1.0)
    normalised: npt.NDArray[np.float32] = (weights / weights.sum(axis=0)).astype(np.float32)
    return normalised


def fit_heads(
    x: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int8],
    weights: npt.NDArray[np.float32],
    l2: npt.NDArray[np.float64],
    config: FitConfig,
) -> Heads:
    """Minimises, per category, the weighted mean logistic loss + l2 / 2 * |v|^2 with L-BFGS.

    v are the weights for standardised features (mean 0, deviation 1); the standardisation is folded back
    into the result. The bias is free. All categories share the passes over `x`.

    Args:
        x: features [n, hidden].
        labels: int8 [n, C]; only their being 1 matters where the weight is positive.
        weights: of the loss [n, C], 0 for unknown labels, columns adding up to 1.
        l2: strength per category [C].
        config: limits of the optimiser.
    """
    classes, hidden = labels.shape[1], x.shape[1]
    mean, deviation, values, vectors = _moments(x)
    # The features are far from independent, and plain L-BFGS needs hundreds of passes. In the basis of their
    # correlation, scaled by the expected curvature, it needs tens. The minimum is the same.
    scale = 1.0 / np.sqrt(TYPICAL_CURVATURE * values[None, :] + l2[:, None])  # [C, hidden]
    positive = labels == 1

    def raw(parameters: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], ...]:
        u = parameters.reshape(classes, hidden + 1)
        v = (u[:, :hidden] * scale) @ vectors.T
        weight = v / deviation
        return v, weight, u[:, hidden] - weight @ mean

    def objective(parameters: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        v, weight, bias = raw(parameters)
        weight32, bias32 = weight.astype(np.float32), bias.astype(np.float32)
        loss = 0.5 * float((l2[:, None] * v * v).sum())
        to_weight, to_bias = np.zeros((classes, hidden)), np.zeros(classes)
        for begin in range(0, len(x), BLOCK_ROWS):
            rows = slice(begin, begin + BLOCK_ROWS)
            z = x[rows] @ weight32.T + bias32
            target = positive[rows]
            loss += float(
                (weights[rows] * np.logaddexp(np.float32(0), np.where(target, -z, z))).sum(dtype=np.float64)
            )
            g = weights[rows] * (expit(z) - target)
            to_weight += g.T @ x[rows]
            to_bias += g.sum(axis=0, dtype=np.float64)
        to_v = (to_weight - to_bias[:, None] * mean) / deviation + l2[:, None] * v
        gradient = np.concatenate([(to_v @ vectors) * scale, to_bias[:, None]], axis=1)
        return loss, gradient.reshape(-1)

    result = minimize(
        objective,
        np.zeros(classes * (hidden + 1)),
        jac=True,
        method="L-BFGS-B",
        options={
            "maxiter": config.max_iterations,
            "gtol": config.gradient_tolerance,
            "ftol": 0.0,
            "maxcor": 20,
        },
    )
    _, weight, bias = raw(result.x)
    return Heads(weight.astype(np.float32), bias.astype(np.float32), int(result.nit))


def _moments(x: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], ...]:
    """Mean and deviation of the features, eigenvalues and eigenvectors of their correlation."""
    mean = x.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((x.shape[1], x.shape[1]))
    for begin in range(0, len(x), BLOCK_ROWS):
        centred = x[begin : begin + BLOCK_ROWS] - mean.astype(np.float32)
        covariance += centred.T @ centred
    covariance /= len(x)
    deviation = np.sqrt(np.diag(covariance))
    deviation = np.where(
        deviation > 1e-6 * deviation.max(), deviation, 1.0
    )  # a constant feature says nothing
    values, vectors = np.linalg.eigh(covariance / np.outer(deviation, deviation))
    return mean, deviation, np.maximum(values, 0.0), vectors
