"""AVSBench's scores written as plainly as possible: one frame, one threshold at a time."""

import numpy as np
import torch


def frame_iou(logits: torch.Tensor, target: torch.Tensor) -> float:
    predicted = torch.sigmoid(logits) > 0.5
    truth = target > 0
    if not truth.any():
        return float((~predicted).sum()) / truth.numel()
    return float((predicted & truth).sum()) / float((predicted | truth).sum())


def frame_curve(logits: torch.Tensor, target: torch.Tensor) -> np.ndarray:
    probability = torch.sigmoid(logits).numpy()
    truth = target.numpy() > 0
    curve = []
    for threshold in torch.linspace(0, 1 - 1e-10, 255).numpy():
        predicted = probability >= threshold
        hits = float((predicted & truth).sum())
        if hits == 0:
            curve.append(0.0)
            continue
        precision, recall = hits / predicted.sum(), hits / truth.sum()
        curve.append(1.3 * precision * recall / (0.3 * precision + recall))
    return np.array(curve)


def batch_fscore(logits: torch.Tensor, target: torch.Tensor) -> float:
    curves = [frame_curve(a, b) for a, b in zip(logits, target, strict=True) if (b > 0).any()]
    return float(np.mean(curves, axis=0).max()) if curves else 0.0
