"""The restricted loader takes AVSBench's pickles and nothing that could run."""

import os
import pickle

import numpy as np
import pytest
import torch

from ecmvae.data.safe_pickle import load_tensor
from ecmvae.errors import UserError


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_a_pickled_tensor_that_requires_grad(tmp_path, protocol):
    patches = torch.randn(5, 1, 96, 64).requires_grad_()
    path = tmp_path / "clip.pkl"
    path.write_bytes(pickle.dumps(patches, protocol=protocol))
    read = load_tensor(path)
    assert torch.equal(read, patches)
    assert not read.requires_grad


def test_reads_torch_save(tmp_path):
    patches = torch.randn(3, 4)
    torch.save(patches, tmp_path / "clip.pkl")
    assert torch.equal(load_tensor(tmp_path / "clip.pkl"), patches)


class Evil:
    def __init__(self, target: str) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


class EvilStorage:
    """Hides its program inside the bytes that a tensor's storage is loaded from."""

    def __init__(self, target: str) -> None:
        import io

        buffer = io.BytesIO()
        torch.save(Evil(target), buffer, _use_new_zipfile_serialization=False)
        self.content = buffer.getvalue()

    def __reduce__(self):
        return torch.storage._load_from_bytes, (self.content,)


@pytest.mark.parametrize("evil", [Evil, EvilStorage])
def test_runs_nothing(tmp_path, evil):
    target, path = tmp_path / "made", tmp_path / "clip.pkl"
    path.write_bytes(pickle.dumps(evil(str(target))))
    with pytest.raises(UserError, match=r"clip\.pkl: not a pickled plain tensor"):
        load_tensor(path)
    assert not target.exists()
    pickle.loads(path.read_bytes())
    assert target.exists()  # the ordinary loader would have run it


@pytest.mark.parametrize("value", [{"a": torch.ones(1)}, [1.0], np.ones(3), "text"])
def test_refuses_other_content(tmp_path, value):
    path = tmp_path / "clip.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(UserError, match=r"clip\.pkl"):
        load_tensor(path)


def test_refuses_damaged_and_missing_files(tmp_path):
    path = tmp_path / "clip.pkl"
    with pytest.raises(UserError, match="cannot be read"):
        load_tensor(path)
    path.write_bytes(pickle.dumps(torch.randn(5, 1, 96, 64))[:5000])
    with pytest.raises(UserError, match="refused") as error:
        load_tensor(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "value",
    [
        torch.eye(3).to_sparse(),
        torch.ones(3, dtype=torch.complex64),
        torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8),
    ],
)
def test_refuses_tensors_that_are_not_plain(tmp_path, value):
    torch.save(value, tmp_path / "clip.pkl")
    with pytest.raises(UserError, match=r"clip\.pkl"):
        load_tensor(tmp_path / "clip.pkl")


@pytest.mark.parametrize("saved", [lambda value: pickle.dumps(value, protocol=4), None])
def test_b18_strides_of_zero_do_not_make_a_large_tensor_of_a_small_file(tmp_path, saved):
    patches = torch.zeros(1).expand(400_000, 1, 96, 64)
    path = tmp_path / "clip.pkl"
    path.write_bytes(saved(patches)) if saved else torch.save(patches, path)
    assert path.stat().st_size < 10_000
    with pytest.raises(
        UserError, match=r"\(400000, 1, 96, 64\) that says to be larger than what is stored"
    ):
        load_tensor(path)
