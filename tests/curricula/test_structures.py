"""The structures behind level replay and self-play, each against what it stands for, written plainly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syllabus_service.curricula import blocks
from syllabus_service.curricula.block_sums import BlockSums
from syllabus_service.curricula.narrow_counts import NarrowCounts
from syllabus_service.curricula.partition import Partition
from syllabus_service.curricula.ranking import Ranking
from syllabus_service.curricula.task_buffer import TaskBuffer

from . import chi_square

quick = settings(max_examples=30, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, size=st.integers(1, 4000), distinct=st.sampled_from([2, 30, 10**6]))
@quick
def test_a_ranking_is_a_sorted_list_of_keys_and_indices(seed, size, distinct):
    rng = np.random.default_rng(seed)
    keys = rng.integers(0, distinct, size=size) / distinct
    there = np.sort(rng.permutation(size)[: rng.integers(0, size + 1)])
    ranking = Ranking(keys[there], there)
    for _ in range(12):
        absent = np.setdiff1d(np.arange(size), there)
        new = rng.permutation(absent)[: rng.integers(0, 200)]
        ranking.insert(new, keys[new])
        there = np.union1d(there, new)
        changed = rng.permutation(there)[: rng.integers(0, 400)]
        fresh = rng.integers(0, distinct, size=len(changed)) / distinct
        ranking.replace(changed, keys[changed], fresh)
        keys[changed] = fresh
        expected = there[np.lexsort((there, keys[there]))]
        places = rng.integers(0, max(len(there), 1), size=min(len(there), 50))
        assert len(ranking) == len(there)
        assert (ranking.at(places) == expected[places]).all()
        assert (ranking.keys_at(places) == keys[expected[places]]).all()
        assert (ranking.places(keys[expected[places]], expected[places]) == places).all()
        assert ranking.lowest() == (keys[there].min() if len(there) else np.inf)


@given(seed=seeds, size=st.integers(1, 300))
@quick
def test_block_sums_hold_the_weights_and_draw_only_what_has_one(seed, size):
    rng = np.random.default_rng(seed)
    weights = rng.random(size) * (rng.random(size) < 0.3)
    sums = BlockSums(weights)
    for _ in range(6):
        changed = rng.integers(0, size, size=rng.integers(0, 20))
        fresh = rng.choice([0.0, 1e-12, 1.0, 1e12], size=len(changed))
        weights[changed] = fresh
        sums.update(changed, fresh)
        assert (sums[np.arange(size)] == weights).all()
        np.testing.assert_allclose(sums.total, weights.sum(), rtol=1e-12)
        if sums.total > 0:
            assert (weights[sums.draw(50, rng)] > 0).all()
    again = BlockSums(weights)
    if again.total > 0:
        one, two = np.random.default_rng(seed), np.random.default_rng(seed)
        assert (sums.draw(50, one) == again.draw(50, two)).all(), "draws depend on how the weights came about"


def test_block_sums_draw_in_proportion():
    rng = np.random.default_rng(0)
    weights = rng.random(500) ** 4
    drawn = BlockSums(weights).draw(100_000, rng)
    chi_square.assert_follows(np.bincount(drawn, minlength=500), weights / weights.sum())


@given(seed=seeds, size=st.integers(1, 40))
@quick
def test_a_partition_is_a_set_and_its_complement(seed, size):
    rng = np.random.default_rng(seed)
    partition = Partition(np.arange(size))
    members: set[int] = set()
    for _ in range(20):
        chosen = rng.permutation(size)[: rng.integers(0, size + 1)]
        if rng.random() < 0.6:
            added = partition.add(chosen)
            assert set(added.tolist()) == set(chosen.tolist()) - members
            members |= set(chosen.tolist())
        else:
            partition.remove(chosen)
            members -= set(chosen.tolist())
        assert set(partition.members.tolist()) == members
        assert np.flatnonzero(partition.mask).tolist() == sorted(members)
        assert sorted(partition.order.tolist()) == list(range(size))
        if members:
            assert set(partition.draw_members(30, rng).tolist()) <= members
        if len(members) < size:
            assert not set(partition.draw_others(30, rng).tolist()) & members


@given(seed=seeds, size=st.integers(1, 12))
@quick
def test_a_task_buffer_knows_the_slot_of_each_task_it_holds(seed, size):
    rng = np.random.default_rng(seed)
    buffer = TaskBuffer(size)
    slots: dict[int, int] = {}
    for clock in range(40):
        task = int(rng.integers(2**63 - 1))
        buffer.expect(task, clock)
        assert not buffer.unknown(np.array([task]))[0]
        if rng.random() < 0.7:
            assert buffer.arrive(task) == clock
            assert buffer.arrive(task) is None
            slot = len(slots) if len(slots) < size else int(rng.integers(size))
            slots = {held: place for held, place in slots.items() if place != slot}
            slots[task] = slot
            buffer.put(np.array([task]), np.array([slot]))
        asked = np.array([*slots, task, 5], dtype=np.int64)
        assert buffer.slots_of(asked).tolist() == [slots.get(each, -1) for each in asked.tolist()]
    again = TaskBuffer(size)
    again.load(buffer.state())
    held = np.array(list(slots), dtype=np.int64)
    assert again.slots_of(held).tolist() == list(slots.values())


def test_a_task_buffer_gives_up_the_task_it_has_expected_longest():
    buffer = TaskBuffer(2)
    for task in range(buffer.max_expected + 3):
        buffer.expect(task, task)
    assert [buffer.arrive(task) for task in (0, 2, 3)] == [None, None, 3]


@given(seed=seeds, size=st.integers(1, 40), most=st.sampled_from([1, 30_000, 70_000]))
@quick
def test_narrow_counts_are_counts(seed, size, most):
    rng = np.random.default_rng(seed)
    counts, expected = NarrowCounts(size), np.zeros(size, np.int32)
    for _ in range(8):
        index = rng.integers(size, size=rng.integers(0, 6))
        added = rng.integers(0, most, size=len(index))
        counts.add(index, added)
        np.add.at(expected, index, added)
        assert counts.array.dtype == counts[index].dtype == np.int32
        assert counts.array.tolist() == expected.tolist()
        assert counts[index].tolist() == expected[index].tolist()
        assert counts.positive().tolist() == np.flatnonzero(expected).tolist()
        again = NarrowCounts(size)
        again.array = expected
        assert again.array.tolist() == expected.tolist()
        if rng.random() < 0.3:
            counts.clear(counts.positive())
            expected[:] = 0


def test_counts_that_stay_small_stay_narrow_whatever_their_sum():
    counts = NarrowCounts(100)
    for _ in range(50):
        counts.add(np.repeat(np.arange(100), 30), np.ones(3000, np.int64))
    assert counts.array.tolist() == [1500] * 100
    assert counts._counts.dtype == np.uint16


@given(seed=seeds, size=st.integers(0, 100), block=st.integers(1, 40))
@quick
def test_what_is_kept_of_an_array_in_its_place_can_be_put_back(seed, size, block):
    rng = np.random.default_rng(seed)
    array, mask = rng.random(size), rng.random(size) < 0.5
    expected = np.where(mask, array, 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_BLOCK", block)
        kept = blocks.keep(array, mask)
        assert kept.tolist() == expected[mask].tolist()
        assert np.shares_memory(kept, array) or not len(kept)
        blocks.put_back(array, mask)
        assert array.tolist() == expected.tolist()
        assert np.concatenate([np.arange(size)[at] for at in blocks.blocks(size)]).tolist() == list(range(size))


@given(seed=seeds, size=st.integers(1, 300_000))
@quick
def test_a_deviation_computed_in_blocks_is_numpys_to_the_bit(seed, size):
    array = np.random.default_rng(seed).normal(3.0, size=size)
    assert blocks.standard_deviation(array) == array.std()
