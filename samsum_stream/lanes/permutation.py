"""A keyed permutation of any length in constant memory."""

import numpy as np
from numpy.typing import NDArray

from samsum_stream.values.arrays import Int64Array

UInt64Array = NDArray[np.uint64]


NUM_ROUNDS = 6


def lane_size(lane: int, *, num_rows: int, num_lanes: int) -> int:
    """How many of `num_rows` rows a lane reads in an epoch; lanes differ by one row at most."""
    return (num_rows - lane + num_lanes - 1) // num_lanes


def permute(places: Int64Array, *, length: int, key: tuple[int, ...]) -> Int64Array:
    """What stands at `places` of the permutation of `range(length)` that `key` names: O(1) memory, any length.

    A Feistel network permutes the numbers of `ceil(log2(length))` bits; a number that lands outside the range is
    permuted on until it lands inside, which keeps the map one-to-one (cycle walking, Black and Rogaway 2002).
    """
    round_keys = np.random.SeedSequence(key).generate_state(NUM_ROUNDS, np.uint64).astype(np.uint64)
    bits = max((length - 1).bit_length(), 2)
    rows = _feistel(places.astype(np.uint64), keys=round_keys, bits=bits)
    while (outside := rows >= length).any():
        rows[outside] = _feistel(rows[outside], keys=round_keys, bits=bits)
    return rows.astype(np.int64)


def _feistel(numbers: UInt64Array, *, keys: UInt64Array, bits: int) -> UInt64Array:
    """Each round mixes one half of the bits into the other and swaps them, so that it can be undone."""
    low_bits, high_bits = np.uint64(bits // 2), np.uint64(bits - bits // 2)
    high, low = numbers >> low_bits, numbers & _ones(low_bits)
    for key in keys:
        high, low = low, (high ^ _mix(low ^ key)) & _ones(high_bits)
        low_bits, high_bits = high_bits, low_bits
    return high << low_bits | low


def _ones(bits: np.uint64) -> np.uint64:
    return (np.uint64(1) << bits) - np.uint64(1)


def _mix(x: UInt64Array) -> UInt64Array:
    """Every bit of the result depends on every bit of `x`: two multiplications and a shift between them."""
    x = x * np.uint64(0x9E3779B97F4A7C15)
    return (x ^ (x >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93) >> np.uint64(32)
