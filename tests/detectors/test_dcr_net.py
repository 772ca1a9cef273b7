"""What only DCR-Net promises: modes, memory, gradients, update rules, extractors."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unmask.core.errors import ConfigError, DataError, TrainingError, WeightsError
from unmask.core.types import Batch, Sample, collate
from unmask.detectors.dcr_net import DCRNet
from unmask.detectors.dcr_net.bank import UNKNOWN
from unmask.detectors.dcr_net.memory import identities
from unmask.detectors.dcr_net.views import other_view
from unmask.detectors.zoo import ZOO, create_detector
from unmask.losses import Criterion

SMALL: dict[str, Any] = {
    "view": {"size": 64}, "stages": 2, "frozen_stages": 0, "hidden": 16, "heads": 2, "bank": 12, "top_k": 3,
    "warmup": 0, "pool": 16, "dropout": 0.0,
}  # fmt: skip


def tiny(**changes: Any) -> DCRNet:
    torch.manual_seed(0)
    detector = create_detector("dcr_net_tiny", **(SMALL | changes))
    assert isinstance(detector, DCRNet)
    return detector


def images(count: int, seed: int = 0) -> Tensor:
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear")


def batch_of(count: int, seed: int = 0, *, pair: bool = True, people: int | None = None) -> Batch:
    """Real and forged views of ``count`` photos side by side, as a forged stream gives them."""
    samples = []
    for i, photo in enumerate(images(count, seed)):
        fake = photo.clone()
        fake[:, 16:48, 16:48] = fake[:, 16:48, 16:48].flip(2)
        name = f"{seed}-{i}.png" if people is None else ""
        about: dict[str, Any] = {"path": name, "group": "" if people is None else f"person {i % people}"}
        samples += [
            Sample(image, label, pair=photo if pair else None, **about) for label, image in enumerate((photo, fake))
        ]
    return collate(samples)


ALL = Criterion({"bce": 1.0, "anomaly": 0.5, "contrastive": 0.5, "info_nce": 0.1})


@pytest.mark.parametrize("changes", [{}, {"backbone": "rine", "tower": "vit_xsmall_patch16_clip_224"}])
def test_every_trainable_parameter_gets_a_gradient(changes: dict[str, Any]) -> None:
    detector = tiny(**changes).train()
    trainable = {name: p for name, p in detector.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(trainable.values(), lr=0.01)
    untouched = set(trainable)
    for step in range(3):
        optimizer.zero_grad()
        batch = batch_of(4, step)
        ALL(detector.forward_train(batch), batch)[0].backward()
        optimizer.step()
        untouched -= {name for name, p in trainable.items() if p.grad is not None and bool((p.grad != 0).any())}
    assert not untouched
    assert not any(p.grad is not None for p in detector.memory.parameters())


def test_attention_over_one_key_learns_nothing_and_over_many_it_does() -> None:
    """The softmax of a single score is 1, whatever query and key are."""
    config = ZOO["dcr_net_tiny"].config.literal()  # type: ignore[attr-defined]
    plain = {name: getattr(config, name) for name in ("momentum", "single_share", "views", "difference", "tokens")}
    for changes, learns in (({}, True), (plain, False)):
        detector, batch = tiny(**changes).train(), batch_of(4)
        ALL(detector.forward_train(batch), batch)[0].backward()
        key, value = detector.attention.key.weight.grad, detector.attention.value.weight.grad
        assert key is not None and value is not None
        assert (float(key.abs().max()) > 1e-5 * float(value.abs().max())) == learns


def test_both_modes_train_in_one_batch_and_stand_in_the_batchs_order() -> None:
    detector = tiny().train()
    detector.forward_train(batch_of(4, 1))
    batch = batch_of(6)
    output = detector.forward_train(batch)
    assert output.aux is not None and output.logits.shape == (12,)
    paired = output.aux["paired"]
    assert int(paired.sum()) == 6, "share 0.5"
    nearest, distance = output.aux["nearest"], output.aux["distance"]
    assert torch.equal(distance[~paired], nearest[~paired, 0]), "single mode measures to the nearest prototype"
    assert not torch.isclose(distance[paired], nearest[paired, 0]).any()
    assert (nearest.diff(dim=1) >= -1e-6).all()


def test_pair_and_single_mode_measure_the_same_difference_alike() -> None:
    """An image against a counterpart, and against a memory that holds just that counterpart."""
    detector = tiny(bank=1, top_k=1).eval()
    image, counterpart = images(4), images(4, 9)
    pair = detector.compare(image, counterpart)
    for i in range(4):
        detector.memory.bank.replace(torch.zeros(0, 32), torch.zeros(0, dtype=torch.long))
        detector.update_memory(counterpart[i : i + 1], torch.zeros(1))
        single = detector(image[i : i + 1])
        assert pair.aux is not None
        torch.testing.assert_close(single.aux["distance"], pair.aux["distance"][i : i + 1], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            single.aux["anomaly_logits"], pair.aux["anomaly_logits"][i : i + 1], atol=1e-4, rtol=1e-4
        )


def test_the_literal_reading_measures_the_feature_and_not_a_difference() -> None:
    """Why both sides are brought to one length: else the 'difference' correlates with the feature itself."""
    seen = {}
    for kind in ("unit", "raw"):
        detector = tiny(difference=kind).eval()
        detector.update_memory(images(12, 3), torch.zeros(12))
        with torch.no_grad():
            feature = detector._features(detector.normalize(images(8))).pooled
            keys, _ = detector._nearest(feature)
        scaled = feature * (100 if kind == "raw" else 1)  # features before normalising are as large as they please
        difference = (scaled - keys[:, 0]).abs()
        seen[kind] = float(torch.corrcoef(torch.stack([scaled.abs().flatten(), difference.flatten()]))[0, 1])
    assert seen["raw"] > 0.99 > seen["unit"]


def test_an_empty_memory_says_how_to_fill_it_and_prepare_fills_it_once() -> None:
    detector = tiny().eval()
    with pytest.raises(WeightsError, match="update_memory") as caught:
        detector(images(1))
    assert caught.value.code == "empty_memory"
    detector.prepare(images(2))
    detector.prepare(images(5))
    assert len(detector.memory.bank) == 2 and detector(images(3)).logits.shape == (3,)


def test_an_image_finds_itself_when_asked_and_never_in_training() -> None:
    detector = tiny().eval()
    detector.update_memory(images(6), torch.zeros(6))
    assert float(detector(images(6)).aux["distance"].detach().max()) < 1e-3
    detector = tiny(single_share=1.0).train()
    for _ in range(2):  # the second time, keys of the very same photos are in the memory
        output = detector.forward_train(batch_of(4))
        assert output.aux is not None and not output.aux["paired"].any()
        own = identities(batch_of(4))
        slots = detector.memory.bank.nearest(output.embedding.detach(), 3, own).slot  # type: ignore[union-attr]
        assert (detector.memory.bank.ids[slots] != own[:, None]).all()


def test_fakes_and_the_unnamed_are_refused() -> None:
    detector = tiny().train()
    with pytest.raises(DataError, match="only real images"):
        detector.update_memory(images(2), torch.tensor([0.0, 1.0]))
    assert len(detector.memory.bank) == 0
    batch = batch_of(3)
    detector.forward_train(batch)
    assert set(detector.memory.bank.newest()[1].tolist()) == set(identities(batch)[batch.label == 0].tolist())
    with pytest.raises(TrainingError, match="path or a group"):
        detector.forward_train(dataclasses.replace(batch, path=(), group=()))


def test_relatives_share_an_id_and_others_do_not() -> None:
    ids = identities(batch_of(4, people=2))
    assert len(ids.unique()) == 2 and bool((ids >= 0).all()) and UNKNOWN not in ids
    assert len(identities(batch_of(4)).unique()) == 4


def test_without_counterparts_everything_is_compared_with_others() -> None:
    detector = tiny(warmup=10_000).train()
    output = detector.forward_train(batch_of(3, pair=False))
    assert output.aux is not None and not output.aux["paired"].any()
    with pytest.raises(TrainingError, match="nobody else") as caught:
        tiny().train().forward_train(batch_of(3, pair=False, people=1))
    assert caught.value.code == "nothing_to_compare"


def test_until_the_memory_is_warm_only_pairs_are_trained() -> None:
    detector = tiny(warmup=8).train()
    paired = [detector.forward_train(batch_of(4, step)).aux["paired"].float().mean().item() for step in range(3)]  # type: ignore[index]
    assert paired == [1.0, 0.5, 0.5], "4, 8, 12 real images seen"


def test_a_batch_without_reals_writes_nothing() -> None:
    detector = tiny().train()
    batch = batch_of(4)
    fakes = Batch(
        *(
            v[1::2] if isinstance(v, (Tensor, tuple)) else v
            for v in (getattr(batch, f.name) for f in dataclasses.fields(batch))
        )
    )
    assert detector.forward_train(fakes).logits.shape == (4,) and len(detector.memory.bank) == 0


def test_keys_come_from_a_slow_copy_of_the_network() -> None:
    detector = tiny(momentum=0.75).train()
    name = "backbone.net.model.conv_stem.weight"
    ours, slow = (dict(m.named_parameters())[name] for m in (detector.extractor.learning, detector.memory.encoder))
    before = slow.detach().clone()
    assert torch.equal(before, ours)
    with torch.no_grad():
        ours += 1
    detector.forward_train(batch_of(2))
    torch.testing.assert_close(slow, 0.75 * before + 0.25 * ours.detach())
    assert not slow.requires_grad and not detector.memory.encoder.training and detector.extractor.training


@pytest.mark.parametrize("update", ["rebuild", "kmeans"])
def test_the_memory_is_rebuilt_from_an_epochs_keys(update: str) -> None:
    detector = tiny(update=update, bank=6, pool=16).train()
    for step in range(3):
        detector.forward_train(batch_of(4, step))
    newest = detector.memory.bank.newest()[1]
    assert len(newest) == 6, "a queue until the first epoch has ended"
    epoch = identities(batch_of(4, 0)).unique().tolist() + identities(batch_of(4, 1)).unique().tolist()
    epoch += identities(batch_of(4, 2)).unique().tolist()
    detector.end_epoch()
    keys, ids = detector.memory.bank.newest()
    assert detector.memory.pool is not None and len(detector.memory.pool) == 0
    if update == "rebuild":
        assert torch.equal(ids, newest)
    else:
        assert len(keys) <= 6 and set(ids.tolist()) <= {*epoch, UNKNOWN}
        assert torch.allclose(keys.norm(dim=1), torch.ones(len(keys)))
    before = keys.clone()
    detector.forward_train(batch_of(4, 3))
    assert torch.equal(detector.memory.bank.newest()[0], before), "fixed until the next epoch has ended"
    detector.end_epoch()
    assert set(detector.memory.bank.newest()[1].tolist()) == set(identities(batch_of(4, 3)).tolist())


def test_other_views_are_near_the_photo_and_differ() -> None:
    torch.manual_seed(0)
    photo = images(6)
    view = other_view(photo)
    apart = (view - photo).abs().flatten(1).mean(1)
    assert view.shape == photo.shape and bool(((apart > 0.003) & (apart < 0.15)).all())
    assert float(view.min()) >= 0 and float(view.max()) <= 1


def test_rine_keeps_its_tower_and_copies_only_what_learns() -> None:
    detector = tiny(backbone="rine", tower="vit_xsmall_patch16_clip_224").train()
    tower = {k: v.clone() for k, v in detector.extractor.fixed.state_dict().items()}
    assert not detector.extractor.fixed.training and not any(
        p.requires_grad for p in detector.extractor.fixed.parameters()
    )
    copied = sum(p.numel() for p in detector.memory.encoder.parameters())
    assert copied == sum(p.numel() for p in detector.extractor.learning.parameters()) < 30_000
    assert detector.extractor.learning.importance.shape == (10, 16)  # type: ignore[union-attr]
    out = detector.eval().compare(images(2), images(2, 1))
    assert out.embedding is not None and out.embedding.shape == (2, 16)
    maps = detector.extractor(detector.normalize(torch.rand(1, 3, 64, 96)))
    assert maps.grid.shape == (1, 24, 16) and maps.rows == 4
    detector.prepare(images(3))
    assert detector.evidence(torch.rand(2, 3, 64, 96))["difference from real"].shape == (2, 3, 64, 96)
    assert all(torch.equal(v, tower[k]) for k, v in detector.extractor.fixed.state_dict().items())


def test_other_backbones_by_name() -> None:
    detector = create_detector("dcr_net", backbone="EfficientNet", bank=8).eval()
    assert isinstance(detector, DCRNet) and detector.extractor.channels == 320
    assert create_detector("dcr_net", bank=8).extractor.channels == 2048  # type: ignore[union-attr]


def test_evidence_shows_the_place_that_differs() -> None:
    detector = tiny(stages=3).eval()
    detector.update_memory(torch.full((1, 3, 64, 64), 0.5), torch.zeros(1))
    odd = torch.full((1, 3, 64, 64), 0.5)
    odd[:, :, 40:, 40:] = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    shown = detector.evidence(odd)
    colour = shown["difference from real"][0, 0] - shown["difference from real"][0, 2]  # amber where the map is high
    assert float(colour[48:, 48:].mean()) > 2 * float(colour[:16, :16].mean())
    assert shown["nearest reals"].shape[:2] == (1, 1)


@pytest.mark.parametrize(
    ("changes", "says"), [({"heads": 3}, "divide"), ({"top_k": 99}, "bank of 12"), ({"momentum": 1.5}, r"\[0, 1\]")]
)
def test_settings_that_contradict_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        tiny(**changes)


def test_published_weights_reach_the_slow_copy_too() -> None:
    root = os.environ.get("UNMASK_DATA")
    file = Path(root or "") / "backbones" / "mobilenetv2_gluon_e1.in1k_features.safetensors"
    if root is None or not file.is_file():
        pytest.skip("UNMASK_DATA with the ImageNet backbones is not set")
    detector = create_detector("dcr_net_tiny")
    assert isinstance(detector, DCRNet)
    report = detector.load_backbone(file)
    assert report.missing == ()
    ours, slow = detector.extractor.learning.state_dict(), detector.memory.encoder.state_dict()
    assert all(torch.equal(value, slow[key]) for key, value in ours.items())
