"""Pictures: what is drawn is the data that was given."""

import numpy as np
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
    np.testing.assert_allclose(np.asarray(saved)[::2, ::2] / 255, canvas[0].numpy(), atol=0.5 / 255 + 1e-6)


def test_colour_canvas(tmp_path):
    canvas = torch.rand(3, 4, 6)
    plots.save_canvas(canvas, tmp_path / "rgb.png")
    pixels = np.asarray(Image.open(tmp_path / "rgb.png"))
    np.testing.assert_allclose(np.moveaxis(pixels, -1, 0) / 255, canvas.numpy(), atol=0.5 / 255 + 1e-6)


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
