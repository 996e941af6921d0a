"""Pictures: what is drawn is the data that was given."""

import numpy as np
import pytest
import torch
from PIL import Image

from ecmvae.vae import plots


def test_canvas_places_every_image(tmp_path):
    images = torch.rand(2, 3, 1, 4, 5)
    canvas = plots.image_canvas(images, gap=0)
    assert canvas.shape == (1, 8, 15)
    assert torch.equal(canvas[:, 4:8, 5:10], images[1, 1])
    spaced = plots.image_canvas(images, gap=1)
    assert torch.equal(spaced[:, 5:9, 6:11], images[1, 1])
    assert (spaced[:, 4] == 1).all()
    plots.save_canvas(canvas, tmp_path / "grid.png", scale=2, text={"command": "make it"})
    saved = Image.open(tmp_path / "grid.png")
    assert saved.size == (30, 16)
    assert saved.text["command"] == "make it"
    np.testing.assert_allclose(
        np.asarray(saved)[::2, ::2] / 255, canvas[0].numpy(), atol=0.5 / 255 + 1e-6
    )


def test_colour_canvas(tmp_path):
    canvas = torch.rand(3, 4, 6)
    plots.save_canvas(canvas, tmp_path / "rgb.png")
    pixels = np.asarray(Image.open(tmp_path / "rgb.png"))
    np.testing.assert_allclose(
        np.moveaxis(pixels, -1, 0) / 255, canvas.numpy(), atol=0.5 / 255 + 1e-6
    )


def test_scatter_has_every_point_under_its_class():
    _, axes = plots.figure()
    codes, labels = torch.randn(30, 2), torch.arange(30) % 3
    drawn = plots.latent_scatter(axes, codes, labels, title="codes")
    assert [text.get_text() for text in drawn.get_legend().get_texts()] == ["0", "1", "2"]
    for label, collection in enumerate(drawn.collections):
        np.testing.assert_allclose(collection.get_offsets(), codes[labels == label].numpy())


def test_histograms_show_the_first_dimensions_and_the_prior():
    codes = torch.randn(4000, 16)
    drawn = plots.latent_histograms(codes, dimensions=12)
    shown = [axis for axis in drawn.axes if axis.has_data()]
    assert len(shown) == 12
    heights = np.array([bar.get_height() for bar in shown[7].patches])
    expected, _ = np.histogram(codes[:, 7].numpy(), bins=40, range=(-4, 4), density=True)
    np.testing.assert_allclose(heights, expected, atol=1e-6)
    assert shown[7].lines[0].get_ydata().max() == np.float64(1 / np.sqrt(2 * np.pi))


def test_p_values_of_the_prior_lie_on_the_diagonal():
    _, axes = plots.figure()
    line = plots.p_value_plot(axes, torch.randn(5000, 1)).lines[0]
    assert np.abs(line.get_ydata() - line.get_xdata()).max() < 0.04


def test_a_labelled_canvas_holds_its_grid_and_marks_it():
    rows = torch.rand(2, 3, 1, 40, 40)
    plain = plots.labelled_canvas(rows)
    assert torch.equal(plain, plots.image_canvas(rows, gap=2).expand(3, -1, -1))
    canvas = plots.labelled_canvas(rows, ["one", "two"], ["a", "b", "c"], "A title", scale=2)
    grid = plots.image_canvas(rows.repeat_interleave(2, -1).repeat_interleave(2, -2), gap=2)
    height, width = grid.shape[1:]
    assert torch.equal(canvas[:, -height:, -width:], grid.expand(3, -1, -1))
    left, above = canvas[0, -height:, :-width], canvas[0, :-height]
    assert left.shape[1] > 10
    assert above.shape[0] > 30
    for number in range(2):  # each row's label stands beside it
        assert left[number * 82 : number * 82 + 80].min() < 0.5
    columns = above[-16:, -width:]
    for number in range(3):  # each column's label stands above its middle
        dark = (columns[:, number * 82 : number * 82 + 80] < 0.5).nonzero()[:, 1].float()
        assert 34 < dark.mean() < 46


def test_long_labels_are_turned_and_long_titles_broken():
    rows = torch.rand(1, 4, 3, 16, 16)
    turned = plots.labelled_canvas(rows, column_labels=["Wearing_Hat", "b", "c", "d"])
    assert turned.shape[2] == 4 * 18 - 2
    assert turned.shape[1] > 16 + 60
    broken = plots.labelled_canvas(rows, title="word " * 30)
    assert broken.shape[2] == 400
    assert broken.shape[1] > 16 + 30


def test_labels_must_be_one_each():
    with pytest.raises(ValueError, match="3 column labels for 2 columns"):
        plots.labelled_canvas(torch.rand(1, 2, 1, 4, 4), column_labels=["a", "b", "c"])
