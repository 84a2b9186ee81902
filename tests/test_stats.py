"""What is counted: handed over, dropped, cut."""

from collections import Counter

import numpy as np

from samsum_stream.stats import Counts, Stats
from samsum_stream.wire import from_buffer, to_buffer
from tests.streams import make_items


def test_handing_over_a_batch_counts_real_tokens_and_those_with_a_label() -> None:
    first, second, third = make_items([4, 1, 7])
    stats = Stats()
    stats.hand_over(from_buffer(to_buffer([[first, second], [third]])), max_length=10)
    assert (stats.rows, stats.examples, stats.packs) == (3, 3, 2)
    assert stats.tokens == 4 + 1 + 7
    # One prompt token each; the single token of the second is its first, which never trains.
    assert stats.trained_tokens == 3 + 0 + 6
    assert (stats.capacity, stats.efficiency) == (20, 0.6)


def test_an_example_without_a_prompt_still_trains_no_first_token() -> None:
    length, ids, words = make_items([5])[0]
    words = words.copy()
    words[1] = 0
    stats = Stats()
    stats.hand_over(from_buffer(to_buffer([[(length, ids, words)]])), max_length=8)
    assert stats.trained_tokens == 4


def test_rows_are_those_handed_over_and_those_dropped() -> None:
    stats = Stats()
    stats.add(Counts(dropped=Counter(longer_than_max_length=3, no_trained_token=1)))
    stats.hand_over(from_buffer(to_buffer([make_items([4, 5])])), max_length=10)
    assert (stats.rows, stats.examples) == (6, 2)


def test_counts_are_taken_once() -> None:
    counts = Counts()
    counts.dropped["no_trained_token"] += 2
    counts.truncated["right"] += 1
    counts.special_tokens_in_rows += 5
    taken = counts.take()
    assert taken == Counts(5, taken.dropped, taken.truncated)
    assert (dict(taken.dropped), dict(taken.truncated)) == ({"no_trained_token": 2}, {"right": 1})
    assert taken
    assert not counts
    assert not counts.take()


def test_counts_add_up_by_reason() -> None:
    stats = Stats()
    for _ in range(2):
        counts = Counts(special_tokens_in_rows=1)
        counts.dropped["no_trained_token"] += 2
        counts.truncated["input"] += 3
        stats.add(counts)
    assert stats.special_tokens_in_rows == 2
    assert dict(stats.dropped) == {"no_trained_token": 4}
    assert dict(stats.truncated) == {"input": 6}
    assert stats.rows == 4


def test_before_the_first_pack_efficiency_is_zero() -> None:
    assert Stats().efficiency == 0.0


def test_totals_are_plain_numbers() -> None:
    stats = Stats()
    stats.hand_over(from_buffer(to_buffer([make_items([4, 5])])), max_length=10)
    for value in (stats.tokens, stats.trained_tokens, stats.packs, stats.capacity, stats.rows):
        assert type(value) is int, value
    assert not isinstance(stats.efficiency, np.floating)
