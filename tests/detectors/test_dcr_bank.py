"""The memory against a deque, a plain loop, and scikit-learn."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from unmask.core.errors import DataError
from unmask.detectors.dcr_net import bank as module
from unmask.detectors.dcr_net.bank import UNKNOWN, MemoryBank, prototypes

DIM = 5


def unit(count: int, seed: int = 0, dim: int = DIM) -> Tensor:
    return F.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def real(count: int) -> Tensor:
    return torch.zeros(count)


@settings(deadline=None, max_examples=60)
@given(slots=st.integers(1, 9), batches=st.lists(st.integers(0, 20), max_size=8))
def test_it_is_a_deque_whatever_the_sizes(slots: int, batches: list[int]) -> None:
    bank, expected = MemoryBank(slots, DIM), deque[tuple[int, Tensor]](maxlen=slots)
    start = 0
    for count in batches:
        keys, ids = unit(count, start), torch.arange(start, start + count)
        bank.write(keys, ids, real(count))
        expected.extend(zip(ids.tolist(), keys, strict=True))
        start += count
        kept, names = bank.newest()
        assert names.tolist() == [name for name, _ in expected] and len(bank) == len(expected)
        assert torch.allclose(kept, torch.stack([key for _, key in expected])) if expected else not len(kept)


@settings(deadline=None, max_examples=60)
@given(
    slots=st.integers(1, 12),
    written=st.integers(0, 20),
    people=st.integers(1, 6),
    k=st.integers(1, 4),
    chunk=st.integers(1, 13),
    seed=st.integers(0, 99),
)
def test_retrieval_is_what_a_loop_finds_and_nothing_else(
    slots: int, written: int, people: int, k: int, chunk: int, seed: int
) -> None:
    k = min(k, slots)
    keys, ids = unit(written, seed), torch.arange(written) % people
    bank = MemoryBank(slots, DIM)
    bank.write(keys, ids, real(written))
    queries, own = unit(7, seed + 1000), torch.arange(7) % people
    own[6] = UNKNOWN
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", chunk)
        found = bank.nearest(queries, k, own)
    others = bank.knows_others(own)
    for i in range(7):
        allowed = [j for j in range(max(0, written - slots), written) if ids[j] != own[i]]
        assert bool(found.found[i]) == bool(others[i]) == bool(allowed)
        if not allowed:
            continue
        best = sorted((float(queries[i] @ keys[j]) for j in allowed), reverse=True)[:k]
        assert found.similarity[i].tolist() == pytest.approx(best + best[:1] * (k - len(best)), abs=1e-6)
        assert all(int(bank.ids[slot]) in {int(ids[j]) for j in allowed} for slot in found.slot[i])
        assert all(int(slot) < len(bank) or written > slots for slot in found.slot[i])


def test_fakes_are_refused_and_nothing_of_their_batch_is_kept() -> None:
    bank = MemoryBank(4, DIM)
    with pytest.raises(DataError, match="1 of 3 fake") as caught:
        bank.write(unit(3), torch.arange(3), torch.tensor([0.0, 1.0, 0.0]))
    assert caught.value.code == "fake_in_memory" and len(bank) == 0 and not bank.keys.any()


def test_what_enters_has_unit_length_and_no_gradient() -> None:
    bank = MemoryBank(3, DIM)
    bank.write(9 * unit(2).requires_grad_(), torch.arange(2), real(2))
    assert torch.allclose(bank.keys[:2].norm(dim=1), torch.ones(2)) and not bank.keys.requires_grad


def test_replace_forgets() -> None:
    bank = MemoryBank(3, DIM)
    bank.write(unit(5), torch.arange(5), real(5))
    bank.replace(unit(1, 7), torch.tensor([70]))
    assert bank.newest()[1].tolist() == [70] and len(bank) == 1 and not bank.keys[1:].any()


def test_prototypes_are_the_centres_scikit_learn_finds() -> None:
    """Clusters far apart on the sphere: any k-means ends in the same partition."""
    cluster = pytest.importorskip("sklearn.cluster")
    centres = np.eye(6)[:4]
    owner = np.arange(200) % 4
    noise = np.random.default_rng(0).normal(size=(200, 6)) * 0.05
    keys = F.normalize(torch.from_numpy(centres[owner] + noise).float(), dim=1)
    found, ids = prototypes(keys, torch.arange(200), 4)
    expected = cluster.KMeans(4, n_init=5, random_state=0).fit(keys.numpy()).cluster_centers_
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    nearest = (found.numpy() @ expected.T).max(1)
    assert len(found) == 4 and nearest.min() > 1 - 1e-6 and ids.tolist() == [UNKNOWN] * 4


@settings(deadline=None, max_examples=30)
@given(n=st.integers(1, 40), count=st.integers(1, 40), seed=st.integers(0, 99))
def test_prototypes_keep_the_name_of_who_is_alone(n: int, count: int, seed: int) -> None:
    keys, ids = unit(n, seed), torch.arange(n) // 2
    found, names = prototypes(keys, ids, count)
    assert 1 <= len(found) <= min(n, count) and torch.allclose(found.norm(dim=1), torch.ones(len(found)), atol=1e-5)
    owner = (keys @ found.T).argmax(1)
    for centre in range(len(found)):
        members = set(ids[owner == centre].tolist())
        if members:
            assert int(names[centre]) == (members.pop() if len(members) == 1 else UNKNOWN)
    loss = [float((1 - (keys @ prototypes(keys, ids, count, rounds)[0].T).amax(1)).sum()) for rounds in (0, 10)]
    assert loss[1] <= loss[0] + 1e-5
    if count >= n:
        assert sorted(names.tolist()) == sorted(ids.tolist())
