"""C1, border: training and inference have the same prompt ids, on real rows, in every format, with every tokenizer."""

import pytest

from samsum_stream import IGNORE_INDEX, SFTStream
from samsum_stream.prompts import FORMATS
from tests.contracts.full_border import is_whole, prove_all
from tests.real_data import (
    PROMPTS,
    ROWS_A_DATASET,
    TOKENIZERS,
    needs_real_data,
    sample_rows,
    sample_stream,
    with_prompt,
)
from tests.text import as_read, decode_continuations

pytestmark = needs_real_data


@pytest.fixture(scope="module", params=TOKENIZERS)
def stream(request: pytest.FixtureRequest) -> SFTStream:
    return sample_stream(request.param)


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("style", FORMATS)
def test_the_completion_starts_where_the_inference_prompt_ends(stream: SFTStream, style: str, prompt: str) -> None:
    stream = with_prompt(stream, prompt=prompt, format=style)
    tokenizer, rows = stream.tokenizer, sample_rows()
    prompts = [stream.inference_prompt(row) for row in rows]
    known = tokenizer(prompts)["input_ids"]
    examples = [pack.examples[0] for pack in stream]
    assert [example.position.row for example in examples] == list(range(len(rows)))

    answers = []
    for row, example, ids in zip(rows, examples, known, strict=True):
        input_ids = example.input_ids.tolist()
        assert stream.inference_ids(row) == ids == input_ids[: len(ids)]
        assert example.labels.tolist() == masked(input_ids, max(len(ids), 1))
        answers.append(input_ids[len(ids) :])
        bos = ids[0] if ids and ids[0] == tokenizer.bos_token_id else None
        assert is_whole(input_ids, answers[-1], bos=bos, eos=tokenizer.eos_token_id)

    expected = [stream.render(row)[len(text) :] for row, text in zip(rows, prompts, strict=True)]
    spelled = expected[0].endswith(tokenizer.eos_token)
    expected = [as_read(tokenizer, text) + ("" if spelled else tokenizer.eos_token) for text in expected]
    assert decode_continuations(tokenizer, answers) == expected


@pytest.mark.parametrize("row", [0, ROWS_A_DATASET, 2 * ROWS_A_DATASET])
def test_the_prompt_ends_in_the_response_prefix_without_its_space(stream: SFTStream, row: int) -> None:
    for style in FORMATS:
        other = with_prompt(stream, prompt="summary", format=style)
        prompt, full = other.inference_prompt(sample_rows()[row]), other.render(sample_rows()[row])
        assert prompt.endswith("Summary:")
        assert full.startswith(f"{prompt} {sample_rows()[row]['response'].strip()}")


def masked(input_ids: list[int], num_masked: int) -> list[int]:
    return [IGNORE_INDEX] * num_masked + input_ids[num_masked:]


@pytest.mark.slow
def test_every_row_in_every_format_with_every_tokenizer() -> None:
    assert [case for case, counts in prove_all() if counts[2:].any()] == []
