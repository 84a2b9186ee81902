"""One very long row: its memory per character, and what happens if its text cannot be cut into parts."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from samsum_stream import RowError, SFTStream
from samsum_stream.stream import encoders
from samsum_stream.tokenization import HFBackend, backends, cuts, runs
from samsum_stream.tokenization.backends import fastokens_is_installed
from samsum_stream.tokenization.proof import VerifiedBackend
from tests.conftest import SMALL_TOKENIZER

STATUS = Path("/proc/self/status")

SCRIPT = """
import json, sys, tempfile
from pathlib import Path
from transformers import AutoTokenizer
from samsum_stream import SFTStream

def peak():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

def read(num_characters):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        text = "Ann said hello \U0001f44b to Bo. "
        for row in ({"text": "short"}, {"text": text * (num_characters // len(text))}):
            file.write(json.dumps(row, ensure_ascii=False) + "\\n")
        file.flush()
        del row
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again at the memory of now
        config = {"tokenizer_config": {"backend": sys.argv[2]}, "truncation_config": {"method": "split"}}
        config |= {"source_config": {"method": "jsonl", "kwargs": {"path": file.name}}, "epochs": 1, "lanes": 1}
        stream = SFTStream.from_config(config, tokenizer=AutoTokenizer.from_pretrained(sys.argv[1]))
        return sum(pack.num_tokens for pack in stream), peak()

tokens, before = read(8_000_000)
more_tokens, after = read(40_000_000)
assert 4.9 < more_tokens / tokens < 5.1
print((after - before) / 32_000_000)
"""


@pytest.mark.skipif(not STATUS.exists(), reason="the peak of the memory is read from /proc")
@pytest.mark.skipif(not fastokens_is_installed(), reason="needs fastokens")
def test_a_character_of_a_very_long_row_takes_at_most_twelve_bytes() -> None:
    """Python itself needs nine of them to decode JSON with a sign such as an emoji: the line, its text, the value."""
    words = [sys.executable, "-c", SCRIPT, str(SMALL_TOKENIZER), "fastokens"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 4 < float(done.stdout) <= 12


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "PART", 30)
    monkeypatch.setattr(backends, "MAX_WHOLE", 4000)
    monkeypatch.setattr(runs, "MAX_WHOLE", 4000)
    monkeypatch.setattr(encoders, "MAX_PROBED", 1000)


WIDE = {"kwargs": {"max_length": 8192}}
GOOD = {"text": "Ann said hello to Bo. " * 40}
SHORT = {"text": "Bo said hello, too."}
BAD = {"text": "Ann said hello. " + "a" * 5000}


def stream_of(rows: list[dict[str, Any]], **changes: Any) -> SFTStream:
    config = {"tokenizer_config": {"backend": "hf"}, "truncation_config": {"method": "split"}, "shuffle": False}
    tokenizer = AutoTokenizer.from_pretrained(SMALL_TOKENIZER)
    return SFTStream.from_config({**config, "epochs": 1, "lanes": 1, **changes}, rows=rows, tokenizer=tokenizer)


@pytest.mark.parametrize("method", ["split", "drop", "right", "error"])
def test_hf_refuses_a_long_text_without_a_place_for_a_cut(method: str, small_limits: None) -> None:
    with pytest.raises(RowError) as caught:
        list(stream_of([GOOD, BAD], truncation_config={"method": method}))
    assert str(caught.value).startswith(
        "rows:1 (epoch 0): the row has 5,016 characters in succession without a place where the text can be cut, and "
        "the tokenizers library encodes at most 4,000 at a time; skip bad rows by fault_config, add spaces or newlines"
    )
    assert caught.value.reason == "no_place_for_a_cut"


def ids_of(stream: SFTStream) -> list[list[int]]:
    return [example.input_ids.tolist() for pack in stream for example in pack.examples]


def test_such_a_row_is_skipped_and_counted_like_other_bad_rows(small_limits: None) -> None:
    faults = {"on_bad_row": "skip", "max_bad_rows": 3}
    bad = [BAD, {"text": ""}, {"text": "b" * 4001}]
    stream = stream_of([GOOD, *bad, SHORT], fault_config=faults)
    assert [example.position.row for pack in stream for example in pack.examples] == [0, 4]
    assert stream.stats.skipped == {"no_place_for_a_cut": 2, "empty_text": 1}
    assert stream.stats.rows == 5
    pipeline = stream.pipeline
    encoded = pipeline.encoder.encode(pipeline.faults.take(pipeline.source.take, np.arange(5)), epoch=0)
    assert encoded.indices.tolist() == [0, 4]
    names = {1: "skipped.no_place_for_a_cut", 2: "skipped.empty_text", 3: "skipped.no_place_for_a_cut"}
    assert {outcome.example: outcome.name for outcome in encoded.outcomes} == names
    assert ids_of(stream_of([GOOD, *bad, SHORT], fault_config=faults)) == ids_of(stream_of([GOOD, SHORT]))


def test_a_spelled_special_token_is_refused_with_its_row(small_limits: None) -> None:
    """Such a text is encoded by the tokenizers library with each backend."""
    rows = [GOOD, {"text": "<|eos|> " + "a" * 3000 + "-" * 3000}]
    with pytest.raises(RowError, match=r"rows:1 .* 6,0\d\d characters in succession"):
        list(stream_of(rows))


@pytest.mark.skipif(not fastokens_is_installed(), reason="needs fastokens")
def test_fastokens_encodes_it(small_limits: None) -> None:
    [pack] = stream_of([BAD], tokenizer_config={"backend": "fastokens", "verify_every": 1000}, packing_config=WIDE)
    [[*ids]] = [example.input_ids for example in pack.examples]
    assert stream_of([GOOD]).tokenizer.decode(ids, skip_special_tokens=True) == BAD["text"]


@pytest.mark.skipif(not fastokens_is_installed(), reason="needs fastokens")
def test_backends_are_compared_on_the_next_chunk_that_is_not_long(monkeypatch: pytest.MonkeyPatch) -> None:
    from samsum_stream.tokenization import proof

    reference = HFBackend(AutoTokenizer.from_pretrained(SMALL_TOKENIZER).backend_tokenizer.to_str())
    compared: list[str] = []

    class Reference(HFBackend):
        def encode(self, texts: Any) -> Any:
            compared.extend(texts)
            return super().encode(texts)

    monkeypatch.setattr(proof, "MAX_CHARACTERS", 50)
    backend = VerifiedBackend(reference, Reference(reference.serialized), verify_every=2)
    for texts in (["one"], ["two " * 100], ["three"], ["four"], ["five"]):
        backend.encode(texts)
    assert compared == ["three", "five"]
