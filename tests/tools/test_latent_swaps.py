"""The picture of what the latents decide."""

from pathlib import Path

import numpy as np
import torch
from latent_swaps import GAP, HEAD, SIDE, TITLES, draw

from ecmvae.config import load_config
from ecmvae.data.preprocess import ClipPreprocessor, PreparedClips
from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.models import build_model
from ecmvae.types import AVBatch

AGREEMENT = Path(__file__).parents[2] / "configs" / "layers" / "agreement.yaml"
SMALL = {
    "model.visual.name": "efficientnet_lite0",
    "model.audio.name": "vggish_small",
    "model.audio.frozen": False,
}


def test_a_column_shows_what_its_title_says() -> None:
    settings = {**SMALL, "model.channels": 16, "model.latent.dim": 4, "model.fusion.kind": "gate"}
    torch.manual_seed(0)
    model = build_model(load_config(AGREEMENT, settings).model, image_size=64).eval()
    # another draw of s_v is the same one
    model.agreement.prior.visual_logvar.bias.data.fill_(-30.0)
    clip = PreparedClips(SyntheticAVS("s4", length=1, size=64), ClipPreprocessor.of(model))[0]
    image = draw(model, AVBatch.collate([clip]), [0, 2])
    side = SIDE + GAP
    assert image.shape == (HEAD + 2 * side, len(TITLES) * side, 3)
    picture, answer, other_c, other_s_v, shown = np.split(
        image[HEAD:].astype(int), len(TITLES), axis=1
    )
    assert not np.array_equal(picture, answer)
    assert not np.array_equal(answer, other_c)
    assert np.abs(answer - other_s_v).max() <= 1
    # of the first row's disc
    inside, outside = ((slice(60, 90), slice(35, 60)), (slice(60, 90), slice(120, 180)))
    blue = shown[..., 2] - picture[..., 2] - (shown[..., 0] - picture[..., 0])
    assert blue[inside].mean() > 60 > 20 > blue[outside].mean()
