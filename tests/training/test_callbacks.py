"""What keeps a run safe; stopping and resuming is in test_run.py."""

from pathlib import Path

import pytest
import torch

from ecmvae.training.callbacks import CheckpointFile, Patience


def test_a_checkpoint_is_written_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    CheckpointFile().save_checkpoint({"weight": torch.arange(3.0), "global_step": 7}, path)
    read = torch.load(path, weights_only=True)
    assert read["weight"].tolist() == [0, 1, 2]
    assert read["global_step"] == 7


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_os_error() -> None:
    with pytest.raises(OSError, match="/dev/full cannot be written"):
        CheckpointFile().save_checkpoint({"weight": torch.zeros(1_000_000)}, "/dev/full")


def test_a_resumed_run_has_the_patience_that_it_is_given_now() -> None:
    stopped = Patience("val/miou", mode="max", patience=1)
    stopped.wait_count = 1
    resumed = Patience("val/miou", mode="max", patience=9)
    resumed.load_state_dict(stopped.state_dict())
    assert (resumed.patience, resumed.wait_count) == (9, 1)
