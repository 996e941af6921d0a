import json
from pathlib import Path

import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ecmvae.data.synthetic import SyntheticAVS
from ecmvae.training.monitor import draw_curves, mask_strip, read_history
from ecmvae.training.run import train


def test_a_strip_shows_frames_truth_and_probability() -> None:
    clip = SyntheticAVS("s4", length=1, size=32)[0]
    pictures, _ = SyntheticAVS("s4", length=1, size=32).frames(0)
    strip = mask_strip(clip.frames / 255, clip.masks, torch.zeros_like(clip.masks))
    assert strip.shape == (3, 96, 160)
    torch.testing.assert_close(
        strip[:, :32, 64:96],
        torch.from_numpy(pictures[2]).permute(2, 0, 1) / 255,
        atol=1e-5,
        rtol=0,
    )
    assert torch.equal(strip[0, 32:64, :32], clip.masks[0, 0])
    assert torch.equal(strip[:, 64:], torch.full((3, 32, 160), 0.5))


def test_tensorboard_holds_masks_curves_and_kl_of_each_dimension(tiny) -> None:
    run = train(tiny(train__log_images=2, train__epochs=1))
    board = EventAccumulator(str(run), size_guidance={"tensors": 0}).Reload().Tags()
    assert {f"kl_{name}/{i}" for name in ("shared", "visual", "audio") for i in range(4)} <= set(
        board["scalars"]
    )
    assert {"train/structure", "val/miou"} <= set(board["scalars"])
    assert len([tag for tag in board["images"] if tag.startswith("masks/")]) == 2


def test_a_line_cut_off_by_a_kill_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text('{"step": 1, "epoch": 0}\n{"step": 2, "epo')
    assert read_history(tmp_path / "history.jsonl") == [{"step": 1, "epoch": 0}]
    assert read_history(tmp_path / "none.jsonl") == []


def test_curves_are_drawn_from_the_history(tmp_path: Path) -> None:
    rows = [
        {"step": step, "epoch": 0, "train/total": 2.0 - step, "val/miou": step / 2}
        for step in range(2)
    ]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_history(tmp_path / "history.jsonl") == rows
    draw_curves(tmp_path / "history.jsonl", tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > 800
        assert len(picture.convert("RGB").getcolors(2**24)) > 3
