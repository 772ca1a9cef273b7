"""Features of pretrained networks: what timm gives for the same weights, and a reason where there are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from unmask.core.errors import ConfigError, WeightsError
from unmask.core.types import Face
from unmask.features.base import Subject
from unmask.features.measuring import feature_key
from unmask.features.networks import CLIPEmbedding, CNNEmbedding, GramTexture
from unmask.nn.backbones import Backbone
from unmask.nn.embedding import Embedder
from unmask.nn.gram import GramBlock, gram

CLIP = "vit_xsmall_patch16_clip_224"


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the layout of the published file."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_file(Embedder("mobilenetv2_gluon_e1").net.state_dict(), file)
    return file


@pytest.fixture(scope="module")
def subject(portrait_pixels: np.ndarray) -> Subject:
    return Subject(portrait_pixels, Face((80, 40, 180, 170)))


def test_without_weights_there_is_a_reason_and_no_value(subject: Subject) -> None:
    for feature in (CNNEmbedding(), CLIPEmbedding(), GramTexture()):
        assert feature.lacks_weights and len(feature.columns) in (144, 768, 1280)
        assert feature.measure([subject])[0] == ("weights_missing", None)


def test_the_cnn_embedding_is_timms_pooled_output(subject: Subject, tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = timm.create_model("mobilenetv3_small_050", num_classes=0).eval()
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    feature = CNNEmbedding().with_weights(f"mobilenetv3_small_050:{tmp_path / 'w.safetensors'}")
    values = feature.measure([subject])[0].values
    from unmask.data.views import views

    pixels = views(subject.image, [subject.face], feature.view)[0].pixels  # type: ignore[list-item]
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        cfg = net.pretrained_cfg
        expected = net((x - torch.tensor(cfg["mean"]).view(3, 1, 1)) / torch.tensor(cfg["std"]).view(3, 1, 1))[0]
    assert values is not None and len(values) == len(feature.columns) == 1024
    np.testing.assert_allclose(values, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_the_clip_embedding_has_unit_length_and_keeps_the_projection(subject: Subject, tmp_path: Path) -> None:
    torch.manual_seed(2)
    net = Embedder(CLIP, project=True)
    assert net.channels == timm.get_pretrained_cfg(CLIP).num_classes
    save_file(net.net.state_dict(), tmp_path / "clip.safetensors")
    values = CLIPEmbedding().with_weights(f"{CLIP}:{tmp_path / 'clip.safetensors'}").measure([subject])[0].values
    assert values is not None and values.shape == (net.channels,)
    assert np.linalg.norm(values) == pytest.approx(1, abs=1e-5)
    state = {k: v for k, v in net.net.state_dict().items() if not k.startswith("head.")}
    save_file(state, tmp_path / "headless.safetensors")
    with pytest.raises(WeightsError, match="is not all of"):
        CLIPEmbedding().with_weights(f"{CLIP}:{tmp_path / 'headless.safetensors'}")


def test_gram_texture_is_that_of_the_backbones_maps(mobilenet: Path, subject: Subject) -> None:
    feature = GramTexture().with_weights(str(mobilenet))
    values = feature.measure([subject])[0].values
    assert values is not None and len(values) == 144
    pixels = torch.rand(1, 3, 64, 64)
    described = feature.describe(pixels)[0].numpy()
    net = Backbone("mobilenetv2_gluon_e1", stages=3).eval()
    net.load(mobilenet)
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (net.mean, net.std))
    with torch.inference_mode():
        maps = net(torch.from_numpy((pixels[0].numpy() - mean) / std)[None])
    flat = feature._projection(1, 24).numpy() @ maps[1][0].numpy().reshape(24, -1)
    np.testing.assert_allclose(described[36:44], np.log((flat**2).mean(1)), rtol=1e-4, atol=1e-4)
    cosine = flat[2] @ flat[5] / np.linalg.norm(flat[2]) / np.linalg.norm(flat[5])
    assert described[36 + feature.columns[36:].index("1 2-5")] == pytest.approx(cosine, abs=1e-4)


def test_gram_of_a_map_does_not_depend_on_places_or_size() -> None:
    x = torch.rand(2, 5, 6, 8)
    flat = x.flatten(2).numpy()
    np.testing.assert_allclose(gram(x), np.einsum("bip,bjp->bij", flat, flat) / 48, rtol=1e-5)
    shuffled = x.flatten(2)[..., torch.randperm(48)].reshape(2, 5, 8, 6)
    torch.testing.assert_close(gram(shuffled), gram(x))
    torch.testing.assert_close(gram(x.repeat(1, 1, 2, 2)), gram(x))


def test_a_gram_block_learns_texture_and_not_places() -> None:
    torch.manual_seed(0)
    block = GramBlock(3, 8, width=6)
    stripes = torch.zeros(8, 3, 16, 16)
    stripes[:4, :, :, ::2] = 1  # columns, against a checkerboard of the same mean
    stripes[4:, :, ::2, ::2] = stripes[4:, :, 1::2, 1::2] = 1
    stripes = torch.stack([s.roll(k, -1) for k, s in enumerate(stripes)])
    head = torch.nn.Linear(8, 1)
    optimiser = torch.optim.Adam([*block.parameters(), *head.parameters()], 0.02)
    label = torch.tensor([0.0] * 4 + [1.0] * 4)
    for _ in range(40):
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(head(block(stripes)).squeeze(1), label)
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())
        optimiser.step()
    assert loss < 0.2


def test_weights_that_do_not_fit_are_one_sentence(mobilenet: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights file"):
        CNNEmbedding().with_weights(str(tmp_path / "none.safetensors"))
    with pytest.raises(WeightsError):
        CNNEmbedding().with_weights(f"resnet18:{mobilenet}")
    with pytest.raises(ConfigError, match="no backbone 'resnett18'"):
        CNNEmbedding().with_weights(f"resnett18:{mobilenet}")
    with pytest.raises(ConfigError, match="no penultimate layer"):
        Embedder("resnetv2_50_stem_norm")
    with pytest.raises(ConfigError, match="projection"):
        Embedder("mobilenetv2_gluon_e1", project=True)


def test_other_weights_are_another_key_in_the_cache(mobilenet: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    save_file(Embedder("mobilenetv2_gluon_e1").net.state_dict(), tmp_path / "other.safetensors")
    keys = {feature_key(CNNEmbedding().with_weights(str(f))) for f in (mobilenet, tmp_path / "other.safetensors")}
    assert len({*keys, feature_key(CNNEmbedding())}) == 3
