"""`loss_config.prompts`: every token of an example is trained, once for each row.

example 0 of a row     system  question 1  answer 1                               all trained
example 1 of the row   system  question 1  answer 1'  question 2  answer 2        trained from answer 1' on
"""

from dataclasses import replace

import numpy as np

from samsum_stream.values.examples import Chunk


def with_prompts_trained(chunk: Chunk) -> Chunk:
    """The examples of whole rows with one span each, which omits the start that the example before has as well."""
    records = chunk.records.copy()
    records["num_spans"] = 1
    spans = np.zeros((len(chunk), 2), np.int32)
    spans[:, 1] = records["length"]
    for index in np.flatnonzero(records["part"]).tolist():
        spans[index, 0] = _length_of_common_prefix(chunk.ids[index - 1], chunk.ids[index])
    return replace(chunk, spans=spans, records=records)


def _length_of_common_prefix(one: bytes, other: bytes) -> int:
    """The number of equal tokens at the start of two examples, in int32."""
    num_bytes = min(len(one), len(other))
    differs = np.frombuffer(one[:num_bytes], np.int32) != np.frombuffer(other[:num_bytes], np.int32)
    return int(differs.argmax()) if differs.any() else len(differs)
