import torch
from torch.nn import functional as F

from ecmvae.models.decoder import (
    DecoderBlock,
    FeatureNeck,
    SegmentationDecoder,
    SegmentationHead,
    convolve_doubled,
    foreground_logits,
)


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_published_parameter_counts() -> None:
    assert _count(FeatureNeck((256, 512, 1024, 2048), 128)) == 1_674_240
    assert _count(FeatureNeck((64, 128, 320, 512), 128)) == 1_313_792
    assert _count(FeatureNeck((256, 512, 1024, 2048), 128, "aspp")) == 17_694_720
    # Less the skip unit of the coarsest block, which the released decoder builds and never runs.
    assert _count(SegmentationDecoder(128)) == 2_455_681 - 2 * (128 * 128 * 9 + 256)


def test_logits_have_the_size_of_the_frame() -> None:
    maps = [torch.randn(2, 8, side, side) for side in (16, 8, 4, 2)]
    assert SegmentationDecoder(8)(maps).shape == (2, 1, 64, 64)
    assert SegmentationDecoder(8, num_classes=71)(maps).shape == (2, 71, 64, 64)


def test_a_block_written_out() -> None:
    block = DecoderBlock(4, has_skip=True).eval()
    x, skip = torch.randn(1, 4, 3, 3), torch.randn(1, 4, 3, 3)

    def unit(module: torch.nn.Module, value: torch.Tensor) -> torch.Tensor:
        first, norm1, _, second, norm2, _ = module.body
        inner = F.relu(norm1(F.conv2d(value, first.weight, padding=1)))
        return value + F.relu(norm2(F.conv2d(inner, second.weight, padding=1)))

    expected = (
        unit(block.refine, x + unit(block.skip, skip))
        .repeat_interleave(2, 2)
        .repeat_interleave(2, 3)
    )
    torch.testing.assert_close(block(x, skip), expected)


def test_the_dilated_neck_sums_its_branches() -> None:
    neck = FeatureNeck((3,), 5, "aspp")
    x = torch.randn(1, 3, 9, 9)
    branches = neck.scales[0].branches
    expected = sum(
        F.conv2d(x, b.weight, padding=r, dilation=r)
        for b, r in zip(branches, (3, 6, 12, 18), strict=True)
    )
    torch.testing.assert_close(neck([x])[0], expected)


def test_foreground_is_everything_but_the_background() -> None:
    logits = torch.randn(2, 3, 71, 4, 4, dtype=torch.float64) * 5
    expected = 1 - logits.softmax(dim=2)[:, :, :1]
    torch.testing.assert_close(foreground_logits(logits).sigmoid(), expected)
    torch.testing.assert_close(foreground_logits(logits[:, :, :1]), logits[:, :, :1])


def test_the_head_answers_alike_at_half_the_resolution() -> None:
    """In eval mode the convolution behind the doubling runs before it; in training mode it is written out."""
    torch.manual_seed(0)
    head, maps = (
        SegmentationHead(8, num_classes=3).double(),
        torch.randn(2, 8, 5, 7, dtype=torch.float64),
    )
    with torch.no_grad():
        written_out = head.train()(maps)
        at_half = head.eval()(maps)
    assert written_out.shape == (2, 3, 10, 14)
    torch.testing.assert_close(at_half, written_out, rtol=0, atol=1e-12)


def test_the_four_kernels_of_a_doubled_map_have_the_sums_of_its_weights() -> None:
    conv = torch.nn.Conv2d(1, 1, 3, padding=1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.arange(9.0).reshape(1, 1, 3, 3))
        parts = convolve_doubled(torch.ones(1, 1, 3, 3), conv)
    assert parts.shape == (4, 1, 3, 3)
    assert parts[:, 0, 1, 1].tolist() == [36.0] * 4  # all nine weights, wherever the pixel lies
    # in a corner, without those on the padding
    assert parts[:, 0, 0, 0].tolist() == [24.0, 33.0, 27.0, 36.0]
