"""The comparison with pythae: one line without it, equal terms with it."""

import compare_pythae
import pytest


def test_without_pythae_it_says_so_and_is_content(monkeypatch, capsys):
    monkeypatch.setattr(compare_pythae, "find_spec", lambda name: None)
    assert compare_pythae.main() == 0
    assert capsys.readouterr().out.count("\n") == 1


def test_a_term_that_differs_ends_with_1(monkeypatch, capsys):
    monkeypatch.setattr(compare_pythae, "find_spec", lambda name: name)
    monkeypatch.setitem(__import__("sys").modules, "pythae", type(compare_pythae)("pythae"))
    monkeypatch.setitem(
        __import__("sys").modules, "pythae.models", type(compare_pythae)("pythae.models")
    )
    for ours, code in ((1.0 + 1e-8, 0), (1.1, 1)):
        row = compare_pythae.Row("VAE", "loss", 1.0, ours)
        by_design = compare_pythae.Row("VAE", "other", 1.0, 9.0, equal=False)
        monkeypatch.setattr(
            compare_pythae, "COMPARISONS", [lambda *_, row=row, other=by_design: [row, other]]
        )
        assert compare_pythae.main() == code
    assert "(by design)" in capsys.readouterr().out


def test_every_shared_model_agrees(capsys):
    pytest.importorskip("pythae")
    assert compare_pythae.main() == 0
