"""C1 on every row: `python -m tests.contracts.full_border` prints a table and a total, and exits 1 on a mismatch.

The arguments are names of tokenizers; the default is all tokenizers. The columns with mismatches:

prefix      input_ids does not start with inference_ids
tokenizer   inference_ids is not the tokenizer's encoding of inference_prompt (rows without special tokens)
response    the rest is not the rendered response and one eos, or there is not exactly one bos if the tokenizer adds it
"""

import logging
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from samsum_stream import SFTStream
from samsum_stream.prompts import FORMATS, Message
from samsum_stream.prompts.rendering import message_of
from samsum_stream.prompts.segments import text_of
from samsum_stream.values.renderings import Segment
from samsum_stream.values.rows import Rows
from tests.real_data import DATASETS, PROMPTS, TOKENIZERS, load_rows, make_stream, with_prompt
from tests.text import as_read, decode_continuations

CHUNK = 2048


def main() -> int:
    logging.disable(logging.WARNING)
    start, total = time.perf_counter(), np.zeros(5, np.int64)
    print(
        f"{'data':<9}{'tokenizer':<14}{'prompt':<9}{'format':<22}{'rows':>8}{'special':>8}  prefix tokenizer response"
    )
    for (data, name, prompt, style), counts in prove_all(sys.argv[1:] or TOKENIZERS):
        total += counts
        rows, special, prefix, tokenizer, response = counts
        print(
            f"{data:<9}{name:<14}{prompt:<9}{style:<22}{rows:>8}{special:>8}  {prefix:>6} {tokenizer:>9} {response:>8}",
            flush=True,
        )
    print(
        f"total: {total[0]:,} rows ({total[1]:,} spell a special token), mismatches: {total[2]} prefix, {total[3]} "
        f"tokenizer, {total[4]} response; {time.perf_counter() - start:,.0f} s"
    )
    return int(total[2:].any())


def prove_all(tokenizers: Sequence[str] = TOKENIZERS) -> Iterator[tuple[tuple[str, str, str, str], np.ndarray]]:
    """For every data set, tokenizer, prompt and format: numbers of rows, special rows and three mismatches."""
    for name in tokenizers:
        streams = {data: make_stream(name, load_rows(data)) for data in DATASETS}
        for data, prompt, style in product(DATASETS, PROMPTS, FORMATS):
            yield (data, name, prompt, style), prove(with_prompt(streams[data], prompt=prompt, format=style))


def prove(stream: SFTStream) -> np.ndarray:
    source = stream.pipeline.source
    starts = range(0, source.num_rows, CHUNK)
    chunks = (source.take(np.arange(start, min(start + CHUNK, source.num_rows))) for start in starts)
    return sum((prove_rows(stream, rows) for rows in chunks), np.zeros(5, np.int64))


def prove_rows(stream: SFTStream, rows: Rows) -> np.ndarray:
    encoder, tokenizer = stream.pipeline.encoder, stream.tokenizer
    unanswered = replace(rows, responses=["x"] * len(rows))
    prompts = [text_of(encoder.renderer.prompt_segments(unanswered, index)) for index in range(len(rows))]
    inference_ids = [encoder.prompt_ids(unanswered, index) for index in range(len(rows))]
    chunk = encoder.encode(rows, epoch=0).chunk
    assert len(chunk) == len(rows), "rows were dropped"
    input_ids = [ids.tolist() for ids in chunk.tokens.split()]
    answers = [ids[len(prompt) :] for ids, prompt in zip(input_ids, inference_ids, strict=True)]
    expected = [as_read(tokenizer, text) for text in answers_of(stream, rows)]

    special = spelling_special_tokens(stream, rows)
    prefix = [ids[: len(prompt)] == prompt for ids, prompt in zip(input_ids, inference_ids, strict=True)]
    known = tokenizer(prompts, return_attention_mask=False)["input_ids"]
    same = [i in special or ids == inference_ids[i] for i, ids in enumerate(known)]
    decoded = decode_continuations(tokenizer, answers)
    equal = [text == expected_text for text, expected_text in zip(decoded, expected, strict=True)]
    bos = tokenizer.bos_token_id if tokenizer("Yes")["input_ids"][0] == tokenizer.bos_token_id else None
    eos = tokenizer.eos_token_id
    whole = [is_whole(ids, answer, bos=bos, eos=eos) for ids, answer in zip(input_ids, answers, strict=True)]
    response = [one and other for one, other in zip(equal, whole, strict=True)]
    wrong = [len(rows) - sum(right) for right in (prefix, same, response)]
    return np.array([len(rows), len(special), *wrong])


def answers_of(stream: SFTStream, rows: Rows) -> Iterator[str]:
    """Each response as the prompt renders it, and one eos; some formats render the eos."""
    prompt, eos = stream.pipeline.encoder.renderer.prompt, stream.tokenizer.eos_token
    end = "" if completion_of(prompt.segments(Message("x", "x"))).endswith(eos) else eos
    return (completion_of(prompt.segments(message_of(rows, index))) + end for index in range(len(rows)))


def completion_of(segments: Iterable[Segment]) -> str:
    """The text of the trained segments."""
    return text_of(segment for segment in segments if segment.trained)


def spelling_special_tokens(stream: SFTStream, rows: Rows) -> set[int]:
    """The indices of the rows that spell a special token in a field."""
    added = stream.tokenizer.added_tokens_decoder.values()
    spelled = re.compile("|".join(re.escape(token.content) for token in added if token.special))
    contexts = [[]] * len(rows) if rows.content.contexts is None else rows.content.contexts
    columns = zip(rows.content.inputs, rows.content.responses, contexts, strict=True)
    texts = ("\n".join([text, response, *passages]) for text, response, passages in columns)
    return {index for index, text in enumerate(texts) if spelled.search(text)}


def is_whole(input_ids: list[int], answer: list[int], *, bos: int | None, eos: int) -> bool:
    """Whether one eos follows the response, and one bos is at the start if the tokenizer adds a bos."""
    starts = bos is None or (input_ids[0] == bos and bos not in input_ids[1:])
    return starts and answer[-1] == eos and eos not in answer[:-1]


if __name__ == "__main__":
    sys.exit(main())
