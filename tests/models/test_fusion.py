import pytest
import torch
from einops import rearrange
from torch.nn import functional as F

from ecmvae.models.fusion import AudioGate, build_fusion
from ecmvae.models.tpavi import TPAVI, unit_length


def explicit_tpavi(block: TPAVI, visual: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
    """The released form, with the L x L matrix written out."""
    b, t, c, h, w = visual.shape
    v = visual / torch.sqrt((visual**2).sum(2, keepdim=True) + 1e-6)
    a = audio / torch.sqrt((audio**2).sum(2, keepdim=True) + 1e-6)
    tokens = v.permute(0, 1, 3, 4, 2).reshape(b, t * h * w, c)
    sound = a[:, :, None, None].expand(b, t, h, w, a.shape[-1]).reshape(b, t * h * w, -1)
    weights = block.theta(tokens) @ block.phi(sound).transpose(1, 2) / (t * h * w)  # (b, L, L)
    y = block.out(weights @ block.g(tokens))
    y = block.out_norm(y.reshape(b * t * h * w, c)).reshape(b, t * h * w, c)
    z = block.norm(y + tokens)
    return z.reshape(b, t, h, w, c).permute(0, 1, 4, 2, 3)


@pytest.mark.parametrize("frames", [1, 5, 7])
@pytest.mark.parametrize("training", [True, False])
def test_tpavi_equals_the_explicit_form(frames: int, training: bool) -> None:
    block = TPAVI(16, audio_dim=12).double().train(training)
    torch.nn.init.normal_(block.out_norm.weight)  # it starts at 0, which would hide the attention
    visual, audio = torch.randn(2, frames, 16, 3, 4).double(), torch.randn(2, frames, 12).double()
    fused, heard = block(visual, audio)
    torch.testing.assert_close(fused, explicit_tpavi(block, visual, audio), atol=1e-6, rtol=0)
    torch.testing.assert_close(heard, unit_length(audio, -1))


def test_tpavi_starts_as_the_normalised_picture() -> None:
    block = TPAVI(8, audio_dim=4)
    visual = torch.randn(1, 2, 8, 3, 3)
    fused, _ = block(visual, torch.randn(1, 2, 4))
    expected = torch.nn.functional.layer_norm(unit_length(visual, 2).movedim(2, -1), (8,)).movedim(
        -1, 2
    )
    torch.testing.assert_close(fused, expected)


def test_tpavi_of_the_published_width_has_33600_parameters() -> None:
    assert sum(p.numel() for p in TPAVI(128, 128).parameters()) == 33_600


def test_tpavi_is_linear_in_the_pixels() -> None:
    """At 4x the side, attention weights L x L would take 256x the memory; here nothing grows faster than the map."""
    block = TPAVI(8, audio_dim=4)
    sizes: list[int] = []

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                sizes.append(result.numel())
            return result

    largest = []
    for side in (4, 16):
        sizes.clear()
        with Largest():
            block(torch.randn(1, 5, 8, side, side), torch.randn(1, 5, 4))
        largest.append(max(sizes))
    assert largest[1] <= 16 * largest[0]


def test_gate_uses_its_own_second_only() -> None:
    gate = AudioGate(8, audio_dim=4).eval()
    visual, audio = torch.randn(1, 3, 8, 4, 4), torch.randn(1, 3, 4)
    changed = audio.clone()
    changed[:, 1] = torch.randn(4)
    before, after = gate(visual, audio)[0], gate(visual, changed)[0]
    torch.testing.assert_close(before[:, [0, 2]], after[:, [0, 2]])
    assert not torch.allclose(before[:, 1], after[:, 1])


def test_gate_equals_a_plain_loop_over_pixels() -> None:
    gate = AudioGate(8, audio_dim=4, inner=6).double().eval()
    torch.nn.init.normal_(gate.bias)
    visual, audio = torch.randn(2, 3, 8, 4, 5).double(), torch.randn(2, 3, 4).double()
    fused, _, match = gate(visual, audio)
    for b in range(2):
        for t in range(3):
            key = gate.key(visual[b, t][None])[0]
            query = gate.query(unit_length(audio[b, t], -1)[None])[0]
            scores = torch.empty(1, 4, 5).double()
            for y in range(4):
                for x in range(5):
                    cosine = F.cosine_similarity(key[:, y, x], query, dim=0)
                    scores[0, y, x] = gate.scale * cosine + gate.bias
            gated = torch.cat([visual[b, t] * scores.sigmoid(), scores])
            expected = visual[b, t] + gate.out(gated[None])[0]
            torch.testing.assert_close(match.scores[3 * b + t], scores, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(fused[b, t], expected, atol=1e-4, rtol=1e-4)


def test_no_fusion_leaves_the_picture_alone() -> None:
    visual = torch.randn(1, 2, 8, 3, 3)
    fused, _ = build_fusion("none", 8, 128)(visual, torch.randn(1, 2, 128))
    assert torch.equal(rearrange(fused, "b t c h w -> (b t) c h w"), visual[0])
