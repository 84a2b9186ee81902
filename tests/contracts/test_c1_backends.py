"""C1, backends: fastokens and tokenizers give the same ids for every text."""

from itertools import islice

import pytest

from tests.contracts import full_backends
from tests.real_data import TOKENIZERS, needs_real_data, sample_stream

pytest.importorskip("fastokens")
pytestmark = needs_real_data


@pytest.fixture(scope="module")
def sampled_texts() -> list[str]:
    """A part of the texts of each data set."""
    return list(islice(full_backends.data_texts(), 0, None, 131))


@pytest.mark.parametrize("name", TOKENIZERS)
def test_backends_agree_on_a_sample_of_real_and_fuzzed_texts(name: str, sampled_texts: list[str]) -> None:
    tokenizer = sample_stream(name).pipeline.encoder.tokenizer
    fast, reference = tokenizer.runs.backend.fast, tokenizer.reference
    texts = [*sampled_texts, *full_backends.fuzzed_texts(name, 300)]
    assert (fast.name, reference.name) == ("fastokens", "hf")
    assert list(full_backends.different(fast, reference, texts)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", TOKENIZERS)
def test_backends_agree_on_every_text(name: str) -> None:
    texts = [*full_backends.data_texts(), *full_backends.fuzzed_texts(name)]
    assert full_backends.differences(name, texts) == []
