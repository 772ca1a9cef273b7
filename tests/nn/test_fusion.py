"""Every fusion by name: its algebra, its invariances, a gradient everywhere, ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.core.errors import ConfigError
from unmask.nn.fusion import EARLY, FUSIONS, FeatureFusion, create_early, create_fusion, map_of, tokens_of
from unmask.nn.fusion.attention import Reliability

SYMMETRIC = [name for name, kind in FUSIONS.items() if kind.symmetric]


def streams(dims: Sequence[int], tokens: int = 5, batch: int = 3, seed: int = 0) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, tokens, d, generator=random) for d in dims]


def identity(linear: nn.Module) -> None:
    assert isinstance(linear, nn.Linear) and linear.bias is not None
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)


@pytest.mark.parametrize("dims", [[4], [4, 7], [4, 7, 3], [2, 5, 3, 8], [1, 2, 3, 4, 5]], ids=len)
@pytest.mark.parametrize("tokens", [1, 5])
@pytest.mark.parametrize("name", FUSIONS)
def test_one_to_five_streams_and_a_gradient_at_every_parameter(name: str, dims: list[int], tokens: int) -> None:
    torch.manual_seed(0)
    fusion = create_fusion(name, dims, 8)
    inputs = [x.requires_grad_() for x in streams(dims, tokens)]
    fused = fusion.fuse(inputs)
    assert fused.tokens.shape == (3, tokens, 8)
    if fused.shares is not None:
        assert fused.shares.shape == (3, tokens, len(dims))
        assert float(fused.shares.detach().min()) >= 0 and float(fused.shares.detach().max()) <= 1
    (fused.tokens * torch.randn(3, tokens, 8)).sum().backward()
    assert [n for n, p in fusion.named_parameters() if p.grad is None or not (p.grad != 0).any()] == []
    assert all(x.grad is not None and bool((x.grad != 0).any()) for x in inputs)


@pytest.mark.parametrize("name", SYMMETRIC)
def test_streams_may_change_places_with_their_own_parameters(name: str) -> None:
    torch.manual_seed(0)
    dims, order = [4, 7, 3, 4], [2, 0, 3, 1]
    fusion = create_fusion(name, dims, 8)
    for p in fusion.parameters():
        nn.init.normal_(p, std=0.3)  # weights too
    moved = create_fusion(name, [dims[i] for i in order], 8)
    state = {}
    for key, value in fusion.state_dict().items():
        part, _, rest = key.partition(".")
        if part in ("project", "quality"):
            index, _, leaf = rest.partition(".")
            key = f"{part}.{order.index(int(index))}.{leaf}"
        state[key] = value[order] if key == "weights" else value
    moved.load_state_dict(state)
    inputs = streams(dims)
    one, two = fusion.fuse(inputs), moved.fuse([inputs[i] for i in order])
    torch.testing.assert_close(two.tokens, one.tokens)
    if one.shares is not None and two.shares is not None:
        torch.testing.assert_close(two.shares, one.shares[..., order])


@pytest.mark.parametrize("name", FUSIONS)
def test_images_do_not_mix_and_cells_keep_their_places(name: str) -> None:
    torch.manual_seed(0)
    fusion, inputs = create_fusion(name, [4, 6], 8), streams([4, 6])
    torch.testing.assert_close(fusion([x[1:2] for x in inputs]), fusion(inputs)[1:2])
    order = [3, 0, 4, 1, 2]
    torch.testing.assert_close(fusion([x[:, order] for x in inputs]), fusion(inputs)[:, order])


def test_concat_with_an_identity_is_concatenation() -> None:
    fusion = create_fusion("concat", [2, 3], 5)
    identity(fusion.project)  # type: ignore[arg-type]
    a, b = streams([2, 3])
    torch.testing.assert_close(fusion([a, b]), torch.cat([a, b], 2))


def test_weighted_sum_starts_as_the_mean_and_follows_its_weights() -> None:
    fusion = create_fusion("weighted_sum", [4, 4, 4], 4)
    for linear in fusion.project:  # type: ignore[union-attr]
        identity(linear)
    parts = streams([4, 4, 4])
    fused = fusion.fuse(parts)
    torch.testing.assert_close(fused.tokens, torch.stack(parts).mean(0))
    with torch.no_grad():
        fusion.weights.copy_(torch.tensor([0.5, 0.25, 0.25]).log())  # type: ignore[operator,union-attr]
    fused = fusion.fuse(parts)
    torch.testing.assert_close(fused.tokens, 0.5 * parts[0] + 0.25 * parts[1] + 0.25 * parts[2])
    assert fused.shares is not None
    torch.testing.assert_close(fused.shares[0, 0], torch.tensor([0.5, 0.25, 0.25]))


def test_pooling_takes_the_maximum_or_the_mean_and_counts_wins() -> None:
    a, b = torch.tensor([[[1.0, 5.0, 2.0, 0.0]]]), torch.tensor([[[3.0, 4.0, 1.0, -1.0]]])
    for how, expected in (("max", torch.maximum(a, b)), ("mean", (a + b) / 2)):
        fusion = create_fusion("pooling", [4, 4], 4, how=how)
        for linear in fusion.project:  # type: ignore[union-attr]
            identity(linear)
        fused = fusion.fuse([a, b])
        torch.testing.assert_close(fused.tokens, expected)
        assert fused.shares is not None
        assert fused.shares[0, 0].tolist() == ([0.75, 0.25] if how == "max" else [0.5, 0.5])


def test_gating_with_gates_shut_lets_nothing_through() -> None:
    fusion = create_fusion("gating", [4, 4], 4)
    for linear in fusion.project:  # type: ignore[union-attr]
        identity(linear)
    for gate, bias in zip(fusion.gate, (-50.0, 50.0), strict=True):  # type: ignore[union-attr,arg-type]
        nn.init.zeros_(gate.weight)
        nn.init.constant_(gate.bias, bias)
    a, b = streams([4, 4])
    fused = fusion.fuse([a, b])
    torch.testing.assert_close(fused.tokens, b.tanh())
    assert fused.shares is not None
    torch.testing.assert_close(fused.shares[0, 0], torch.tensor([0.0, 1.0]))


def test_film_scales_and_shifts_the_first_stream() -> None:
    fusion = create_fusion("film", [3, 2], 3)
    identity(fusion.content)  # type: ignore[arg-type]
    nn.init.zeros_(fusion.modulation.weight)  # type: ignore[union-attr,arg-type]
    with torch.no_grad():
        fusion.modulation.bias.copy_(torch.tensor([1.0, 0.0, -1.0, 5.0, 6.0, 7.0]))  # type: ignore[operator,union-attr]
    a, b = streams([3, 2])
    torch.testing.assert_close(fusion([a, b]), a * torch.tensor([2.0, 1.0, 0.0]) + torch.tensor([5.0, 6.0, 7.0]))


def test_hierarchical_is_a_tree_of_pairs() -> None:
    torch.manual_seed(0)
    fusion = create_fusion("hierarchical", [4] * 5, 4)
    for linear in fusion.project:  # type: ignore[union-attr]
        identity(linear)
    a, b, c, d, e = streams([4] * 5)
    p = list(fusion.pairs)  # type: ignore[arg-type]
    torch.testing.assert_close(fusion([a, b, c, d, e]), p[3](p[2](p[0](a, b), p[1](c, d)), e))


@pytest.mark.parametrize("name", ["cross_attention", "reliability"])
def test_attention_reads_the_other_streams_everywhere(name: str) -> None:
    """A far token of one stream matters to a token of the other; with one stream, to its own."""
    torch.manual_seed(0)
    fusion = create_fusion(name, [4, 4], 8)
    a, b = (x.requires_grad_() for x in streams([4, 4]))
    fusion([a, b])[:, 0].square().sum().backward()
    assert a.grad is not None and b.grad is not None and bool((b.grad[:, 4] != 0).any())


class Verdict(nn.Module):
    """Stands in for the assessment: the third stream is bad, the others are good."""

    def forward(self, quality: Tensor) -> Tensor:
        mark = torch.zeros_like(quality)
        mark[:, :2, :, 0] = 5.0
        return mark


def test_a_distrusted_stream_is_as_if_absent() -> None:
    """Trust near 0 takes a stream out of the mean and out of the others' attention."""
    torch.manual_seed(0)
    fusion = create_fusion("reliability", [4, 4, 4], 8)
    assert isinstance(fusion, Reliability)
    fusion.assess, fusion.norm = Verdict(), nn.Identity()  # type: ignore[assignment]
    nn.init.zeros_(fusion.local.weight)
    nn.init.constant_(fusion.trust.weight, 10.0)
    nn.init.constant_(fusion.trust.bias, -25.0)
    a, b, c = streams([4, 4, 4])
    with torch.no_grad():
        fused, other, moved = fusion.fuse([a, b, c]), fusion([a, b, 100 * c.flip(0)]), fusion([a, -b, c])
    assert fused.shares is not None
    assert float(fused.shares[..., 2].max()) < 1e-9 and float(fused.shares[..., :2].min()) > 1 - 1e-9
    torch.testing.assert_close(other, fused.tokens, rtol=1e-5, atol=1e-5)
    assert float((moved - fused.tokens).abs().max()) > 0.1


def fit(fusion: FeatureFusion, x: Sequence[Tensor], y: Tensor, steps: int = 150) -> nn.Module:
    torch.manual_seed(0)
    head = nn.Sequential(nn.LayerNorm(fusion.dim), nn.Linear(fusion.dim, 1))
    optimizer = torch.optim.AdamW([*fusion.parameters(), *head.parameters()], lr=5e-3)
    for _ in range(steps):
        loss = F.binary_cross_entropy_with_logits(head(fusion(x)).mean((1, 2)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return head


def test_the_reliability_gate_learns_to_turn_a_broken_stream_down_where_it_is_broken() -> None:
    """Stream b tells the label, but on every other image it is noise, with a channel that shows it."""
    torch.manual_seed(0)
    n = 512
    y, broken = (torch.rand(n) < 0.5).float(), torch.arange(n) % 2 == 1
    signal = (2 * y - 1)[:, None]
    a = torch.cat([signal + 1.5 * torch.randn(n, 1), torch.randn(n, 3)], 1)
    b = torch.cat([signal + 0.5 * torch.randn(n, 1), torch.randn(n, 2), torch.zeros(n, 1)], 1)
    b[broken] = torch.cat([3 * torch.randn(n, 3), torch.ones(n, 1)], 1)[broken]
    fusion = create_fusion("reliability", [4, 4], 16)
    fit(fusion, [a[:, None], b[:, None]], y)
    shares = fusion.fuse([a[:, None], b[:, None]]).shares
    assert shares is not None
    trust = shares[:, 0, 1].detach()
    assert float(trust[broken].mean()) < 0.3 < 0.6 < float(trust[~broken].mean())


@pytest.mark.parametrize("name", FUSIONS)
def test_two_complementary_streams_beat_each_alone(name: str) -> None:
    """Each stream tells half the images; fused, nearly all."""
    torch.manual_seed(0)
    n = 300
    y, first = (torch.rand(n) < 0.5).float(), torch.rand(n) < 0.5
    signal = 3 * (2 * y - 1)
    parts = [torch.randn(n, 1, 3) for _ in range(2)]
    parts[0][first, 0, 0] += signal[first]
    parts[1][~first, 0, 0] += signal[~first]
    train, test = torch.arange(n) < 150, torch.arange(n) >= 150

    def accuracy(used: Sequence[Tensor]) -> float:
        fusion = create_fusion(name, [3] * len(used), 8)
        head = fit(fusion, [x[train] for x in used], y[train], 80)
        logits = head(fusion([x[test] for x in used])).flatten()
        return float(((logits > 0) == (y[test] > 0.5)).float().mean())

    assert accuracy(parts) > max(accuracy(parts[:1]), accuracy(parts[1:])) + 0.05


def test_wrong_streams_names_and_options_are_told_apart() -> None:
    fusion = create_fusion("concat", [2, 3], 4)
    for bad in ([torch.zeros(1, 5, 2)], [torch.zeros(1, 5, 2), torch.zeros(1, 5, 4)], [torch.zeros(1, 2)] * 2):
        with pytest.raises(ValueError, match="expected streams"):
            fusion(bad)
    with pytest.raises(ValueError, match="equally many"):
        fusion([torch.zeros(1, 5, 2), torch.zeros(1, 6, 3)])
    with pytest.raises(ConfigError, match="did you mean 'gating'"):
        create_fusion("gatin", [2], 4)
    with pytest.raises(ConfigError, match="heads cannot share"):
        create_fusion("cross_attention", [2, 2], 6, heads=4)
    with pytest.raises(ConfigError, match="hads"):
        create_fusion("reliability", [2, 2], 8, hads=4)
    with pytest.raises(ConfigError, match="'max' or 'mean'"):
        create_fusion("pooling", [2, 2], 8, how="min")
    with pytest.raises(ConfigError, match="at least one stream"):
        create_fusion("mlp", [], 8)
    with pytest.raises(ConfigError, match="no early fusion"):
        create_early("concat", [3])


def test_tokens_and_maps_are_two_views() -> None:
    x = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(map_of(tokens_of(x), (3, 4)), x)
    assert tokens_of(x)[1, 4 * 2 + 3].tolist() == x[1, :, 2, 3].tolist()


def test_early_fusion_stacks_tiles_and_merges() -> None:
    a, b = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    stacked, tiled, merged = (create_early(name, [3, 3]) for name in ("concat_channels", "concat_space", "merge"))
    torch.testing.assert_close(stacked([a, b]), torch.cat([a, b], 1))
    torch.testing.assert_close(tiled([a, b]), torch.cat([a, b], 3))
    torch.testing.assert_close(merged([a, b]), (a + b) / 2)
    assert (stacked.out_channels, tiled.out_channels, merged.out_channels) == (6, 3, 3)
    assert not list(stacked.parameters()) and not list(tiled.parameters())


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("name", EARLY)
def test_early_fusion_aligns_strides_and_channels(name: str, count: int) -> None:
    torch.manual_seed(0)
    channels, sides = [3, 10, 1, 64][:count], [32, 32, 16, 4][:count]
    fusion = create_early(name, channels)
    fused = fusion([torch.randn(2, c, s, s) for c, s in zip(channels, sides, strict=True)])
    assert fused.shape == (2, fusion.out_channels, 32, 32 * (count if name == "concat_space" else 1))
    if list(fusion.parameters()):
        fused.square().sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in fusion.parameters())


@pytest.mark.parametrize("name", EARLY)
def test_a_vector_in_an_early_fusion_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="vector of shape") as caught:
        create_early(name, [3, 7])([torch.zeros(2, 3, 8, 8), torch.zeros(2, 7)])
    assert caught.value.code == "not_a_map"
    with pytest.raises(ConfigError, match="channels"):
        create_early(name, [3, 7])([torch.zeros(2, 3, 8, 8), torch.zeros(2, 6, 8, 8)])
    with pytest.raises(ConfigError, match="at least one"):
        create_early(name, [])


class AllFusions(nn.Module):
    """Every fusion over the same two maps (or vectors), for one export."""

    def __init__(self) -> None:
        super().__init__()
        self.stems = nn.ModuleList(nn.Conv2d(3, d, 4, stride=4) for d in (5, 6))
        self.fusions = nn.ModuleList(create_fusion(name, [5, 6], 8) for name in FUSIONS)
        self.early = nn.ModuleList(create_early(name, [3, 5]) for name in EARLY)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps = [stem(image) for stem in self.stems]
        cells, vectors = [tokens_of(x) for x in maps], [tokens_of(x.mean((2, 3))) for x in maps]
        fused = [f(cells) for f in self.fusions]
        return (*fused, self.fusions[-1](vectors), *(f([image, maps[0]]) for f in self.early))


def test_every_fusion_exports_to_onnx_for_any_batch(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    net = AllFusions().eval()
    shapes = {"image": {0: torch.export.Dim("batch")}}
    program = torch.onnx.export(net, (torch.zeros(2, 3, 16, 16),), dynamo=True, verbose=False, dynamic_shapes=shapes)
    assert program is not None
    program.save(tmp_path / "all.onnx")
    session = runtime.InferenceSession(str(tmp_path / "all.onnx"), providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        image = torch.randn(batch, 3, 16, 16)
        with torch.no_grad():
            expected = net(image)
        got = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        for ours, theirs in zip(expected, got, strict=True):
            torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=1e-4, atol=1e-5)
