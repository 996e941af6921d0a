"""Log-mel patches and scores against the released code; tests/data and tests/metrics look closer."""

from pathlib import Path

import numpy as np
import reference_inputs as ref
import torch
from released_case import close, numbers

from ecmvae.audio.vggish import log_mel_patches
from ecmvae.metrics.functional import avsbench_fscore, avsbench_iou


def test_log_mel_at_16_khz() -> None:
    with np.load(Path(__file__).parent / "logmel.npz") as known:
        patches = log_mel_patches(torch.from_numpy(ref.wave_16k()))
        close(
            "log-mel at 16 kHz",
            patches[:, 0, ::4],
            torch.from_numpy(known["examples_16k"]),
            atol=1e-4,
        )


def test_scores() -> None:
    for seed, known in numbers("../metrics")["cases"].items():
        logits, masks = (torch.from_numpy(each) for each in ref.metric_case(int(seed)))
        close(
            "metrics: IoU of each frame",
            avsbench_iou(logits, masks),
            torch.tensor(known["mask_iou_frame"]),
            atol=1e-6,
        )
        close(
            "metrics: F-measure of a batch",
            avsbench_fscore(logits, masks),
            known["fmeasure"],
            atol=1e-6,
        )
