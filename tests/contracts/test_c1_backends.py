"""C1, the backends: fastokens gives the ids of tokenizers on every text."""

from itertools import islice

import pytest

from tests.contracts import full_backends
from tests.real_data import TOKENIZERS, needs_real_data, sample_stream

pytest.importorskip("fastokens")
pytestmark = needs_real_data


@pytest.fixture(scope="module")
def sampled_texts() -> list[str]:
    """Some of all data sets."""
    return list(islice(full_backends.data_texts(), 0, None, 131))


@pytest.mark.parametrize("name", TOKENIZERS)
def test_backends_agree_on_a_sample_of_real_and_fuzzed_texts(name: str, sampled_texts: list[str]) -> None:
    encoder = sample_stream(name).pipeline.tokenizer
    fast, reference = encoder.sides.backend.fast, encoder.reference
    texts = [*sampled_texts, *full_backends.fuzzed_texts(name, 300)]
    assert (fast.name, reference.name) == ("fastokens", "hf")
    assert list(full_backends.different(fast, reference, texts)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", TOKENIZERS)
def test_backends_agree_on_every_text(name: str) -> None:
    texts = [*full_backends.data_texts(), *full_backends.fuzzed_texts(name)]
    assert full_backends.differences(name, texts) == []
