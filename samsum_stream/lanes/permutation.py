"""A keyed permutation of any length, in constant memory."""

import numpy as np
from numpy.typing import NDArray

from samsum_stream.values.arrays import Int64Array

UInt64Array = NDArray[np.uint64]

NUM_ROUNDS = 6
"""Rounds of the Feistel network."""


def lane_size(lane: int, *, num_rows: int, num_lanes: int) -> int:
    """The number of rows that a lane reads in an epoch of `num_rows` rows; lanes differ by at most one row."""
    return (num_rows - lane + num_lanes - 1) // num_lanes


def permute(indices: Int64Array, *, length: int, key: tuple[int, ...]) -> Int64Array:
    """The elements at `indices` of a permutation of `range(length)`; each `key` gives another permutation.

    A Feistel network permutes the numbers of `ceil(log2(length))` bits. A number outside the range is permuted again
    until it is inside, which keeps the map one-to-one (cycle walking, Black and Rogaway 2002).

    Args:
        indices: Indices from 0 to `length - 1`, any shape.
        length: The length of the permutation.
        key: The key, numbers of 0 or more.

    Returns:
        The elements, in the shape of `indices`.
    """
    round_keys = np.random.SeedSequence(key).generate_state(NUM_ROUNDS, np.uint64).astype(np.uint64)
    bits = max((length - 1).bit_length(), 2)
    rows = _feistel(indices.astype(np.uint64), keys=round_keys, bits=bits)
    while (outside := rows >= length).any():
        rows[outside] = _feistel(rows[outside], keys=round_keys, bits=bits)
    return rows.astype(np.int64)


def _feistel(numbers: UInt64Array, *, keys: UInt64Array, bits: int) -> UInt64Array:
    """A permutation of the numbers of `bits` bits.

    Each round changes one half of the bits by a function of the other half, and swaps the halves. So it is invertible.
    """
    low_bits, high_bits = np.uint64(bits // 2), np.uint64(bits - bits // 2)
    high, low = numbers >> low_bits, numbers & _ones(low_bits)
    for key in keys:
        high, low = low, (high ^ _mix(low ^ key)) & _ones(high_bits)
        low_bits, high_bits = high_bits, low_bits
    return high << low_bits | low


def _ones(bits: np.uint64) -> np.uint64:
    return (np.uint64(1) << bits) - np.uint64(1)


def _mix(x: UInt64Array) -> UInt64Array:
    """A hash of `x` by two multiplications with a shift between them; each bit depends on every bit of `x`."""
    x = x * np.uint64(0x9E3779B97F4A7C15)
    return (x ^ (x >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93) >> np.uint64(32)
