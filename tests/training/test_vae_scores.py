"""`ecmvae vae score | compare` on a folder of pictures."""

import json

import pytest
from drawn_pictures import config_of, train, write_pictures

from ecmvae.cli import main
from ecmvae.training.vae_model import TrainedVAE


def test_score_knows_the_factors(picture_run, tmp_path, capsys):
    data = f"folder:{write_pictures(tmp_path / 'more', 320, seed=3)}"
    words = ["--metrics", "bounds,disentanglement", "--num_samples", "3", "--data", data]
    assert main(["vae", "score", str(picture_run), *words]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["disentanglement"]["factors"] == "Smiling, Hair"
    assert numbers["disentanglement"]["dci_informativeness"] > 0.9  # the codes know both
    assert 0 <= numbers["disentanglement"]["mig"] <= 1
    assert numbers["negative_iwae_3"] <= numbers["negative_elbo"]
    assert main(["vae", "score", str(picture_run), "--metrics", "coherence"]) == 2
    assert main(["vae", "score", str(picture_run), "--metrics", "fid"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "coherence does not apply to vae" in first
    assert "unknown metric 'fid': choose from bounds, losses" in second


def test_bounds_in_parts_are_the_bounds(picture_run, monkeypatch):
    from ecmvae.training import vae_scores
    from ecmvae.vae.metrics import bound_report

    whole = vae_scores.score_vae(picture_run, num_samples=200, metrics=["bounds"])
    monkeypatch.setattr(vae_scores, "CHUNK", 3)
    parts = vae_scores.score_vae(picture_run, num_samples=200, metrics=["bounds"])
    x = TrainedVAE.from_pretrained(picture_run).data().samples("test").images.float() / 255
    expected = bound_report(TrainedVAE.from_pretrained(picture_run).model, x, num_samples=200)
    for name, value in expected.items():
        assert parts[name] == pytest.approx(value, rel=0.01)
        assert whole[name] == pytest.approx(value, rel=0.01)
    assert sum(parts["kl_per_dimension"]) == pytest.approx(expected["kl"], rel=1e-3)


def test_compare_puts_runs_side_by_side(picture_run, picture_root, tmp_path, capsys):
    other = train(tmp_path / "other", config_of(picture_root, "face_vae"))
    capsys.readouterr()
    out = tmp_path / "c.json"
    assert (
        main(
            [
                "vae",
                "compare",
                str(picture_run),
                str(other),
                "--num_samples",
                "2",
                "--out",
                str(out),
            ]
        )
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("model ") and "vae" in line and "face_vae" in line for line in lines)
    assert lines[-1].startswith("note: the models have different likelihoods")
    numbers = json.loads(out.read_text())
    assert set(numbers["runs"]) == {str(picture_run), str(other)}
    alone = json.loads((picture_run / "score.json").read_text())
    assert numbers["runs"][str(picture_run)]["negative_elbo"] == alone["negative_elbo"]
    assert numbers["runs"][str(picture_run)]["epochs"] == 25
    assert main(["vae", "compare", str(picture_run), str(picture_run)]) == 2
    assert "at least two different runs" in capsys.readouterr().err
