"""A batch on its way from a worker: one buffer of int32 words, which crosses a process border as one copy.

[ num_packs, n | pack sizes | records, six words each | token ids ]
"""

from collections.abc import Sequence

import numpy as np

from samsum_stream.values.arrays import Ragged, offsets_of
from samsum_stream.values.batches import Batch
from samsum_stream.values.examples import EXAMPLE_RECORD, Item

HEADER = 2


WORDS_PER_RECORD = EXAMPLE_RECORD.itemsize // 4


def to_buffer(packs: Sequence[Sequence[Item]], *, num_packs: int = 0) -> bytes:
    """Copy the examples of `packs` into a buffer; empty packs make it `num_packs` where there are fewer."""
    items = [item for pack in packs for item in pack]
    sizes = [*map(len, packs), *[0] * (num_packs - len(packs))]
    header = np.array([len(sizes), len(items), *sizes], np.int32)
    records, ids = [record for _, _, record, _ in items], [ids for _, ids, _, _ in items]
    return b"".join([header.tobytes(), *records, *ids])


def from_buffer(buffer: bytes) -> Batch:
    """The batch of a buffer, as views into it."""
    words = np.frombuffer(buffer, np.int32)
    num_packs, n = words[:HEADER].tolist()
    records_at = HEADER + num_packs
    ids_at = records_at + n * WORDS_PER_RECORD
    records = words[records_at:ids_at].view(EXAMPLE_RECORD)
    return Batch(Ragged(words[ids_at:], offsets_of(records["length"])), records, words[HEADER:records_at])
