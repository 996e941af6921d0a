"""The table of what latents carry, on figures given by hand."""

from ecmvae.evaluation.latent_use import LATENT_COLUMNS, latent_rows, latent_table

CHANGES = {name: {"change_in_objects": 0.25} for name in ("c", "all")}
USE = {
    "clips": 4,
    "normal_miou": 0.5,
    "used": True,
    "posterior_iou_with_shown_mask": 0.625,
    "latents": {"c": {"active_units": 3, "dimensions": 16, "kl": 735_820_132_890.6}},
    "zeroed": CHANGES,
    "resampled": CHANGES,
    "swapped": {name: {**change, "miou": 0.125} for name, change in CHANGES.items()},
}


def test_a_row_for_each_latent_and_one_for_all() -> None:
    first, last = latent_rows(USE)
    assert first == ("c", "3 of 16", "7.4e+11", "0.250", "0.250", "0.250", "0.125")
    assert last == ("all", "", "", "0.250", "0.250", "0.250", "0.125")
    assert len(first) == len(LATENT_COLUMNS)


def test_the_title_and_the_verdict() -> None:
    table = latent_table(USE)
    assert table.title == "latent use, 4 clips, mIoU 0.500"
    assert table.caption == "shown a shifted mask, the posterior answers it with IoU 0.62"
    unused = latent_table({**USE, "used": False})
    assert str(unused.caption).startswith("the latents are not used")
