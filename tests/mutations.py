"""Small inputs of each kind, and random changes of their bytes."""

import io
import json
import random
import tarfile
from collections.abc import Sequence
from typing import Any

ROWS: list[dict[str, Any]] = [
    {"input": "20 21", "response": "22"},
    {"input": "", "response": "déjà vu ☕ </s>", "contexts": ["23 24", ""]},
    {"input": 'a "quoted" \\ word', "response": "25\n26", "contexts": None, "context": "27"},
    {"response": "28", "other": {"a": [1, 2.5, True, None]}, "input": "29 😀"},
    {"input": "30 " * 9, "response": "31 " * 60, "contexts": []},
    {"input": "32", "response": " 33 "},
]

LINES = (
    "\ufeff" + "\n".join(json.dumps(row, ensure_ascii=number % 2 == 0) for number, row in enumerate(ROWS)) + "\r\n \n"
)

CONFIGS = (
    """\
# Rows of whole words, in the layout that the documentation shows.
source_config:                     # where rows come from
  method: jsonl                    # or parquet, webdataset
  kwargs: {path: rows.jsonl}
  columns: {input: input, response: response}     # our names of the columns: the dataset's own
prompt_config:
  method: Prompt
  kwargs:
    system_message: "Please summarize the following conversation, 40 41"
    input_template: 'Conversation: {text}'
    response_template: "Summary: {text}"
prompt_format_config: {method: VicunaFormat}      # the model's dialect
tokenizer_config: {backend: hf, special_tokens_in_rows: text, verify_every: 100}
packing_config: {method: best_fit, kwargs: {max_length: 64, buffer_size: 8}}
truncation_config: {method: right}
collator_config: {method: packed, kwargs: {attention: position_ids}}
batch_size: 2                      # packs
shuffle: true
seed: 7
epochs: 2
lanes: 1
""",
    """\
# the older layout
source_config: {method: jsonl, kwargs: {path: [rows.jsonl]}}
prompt_config: {method: DefaultPrompt, kwargs: {}}
dataset_writer_config: {method: JSONLWriter, kwargs: {path: out, comment: nothing is written}}
packing_config: {method: greedy}
tokenizer_config: {backend: hf}
chunksize: 48
ignore_index: -100
num_proc: 2
batch_size: 3
epochs:
""",
    """\
source_config:
  "method": jsonl
  kwargs:
    path: &rows
      - rows.jsonl
prompt_config:
  method: ZeroShotQA
  kwargs:
    system_message: |
      Answer the question by the passages.
      42 43
fault_config: {on_bad_row: skip, max_bad_rows: 0.005}
tokenizer_config: {backend: &hf hf}
packing_config: {kwargs: {max_length: 64}}
truncation_config:
  method: >-
    contexts
collator_config: {method: padded, kwargs: {pad_to_multiple_of: 8, padding_side: left}}
batch_size: 2
shuffle: false
lanes: 1
""",
)


def _archive(samples: list[list[tuple[str, bytes]]], form: int, name: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form, pax_headers={"comment": "for all"}) as archive:
        for number, members in enumerate(samples):
            for kind, content in members:
                info = tarfile.TarInfo(f"{name.format(number)}.{kind}")
                info.size, info.mtime = len(content), number + 0.5 if form == tarfile.PAX_FORMAT else number
                archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


_WHOLE = [[("json", json.dumps(row).encode())] for row in ROWS[:4]]
_PARTS = [("input.txt", b"34"), ("response.txt", "35 é".encode()), ("contexts.json", b'["36"]'), ("jpg", b"\xff")]

ARCHIVES = (
    _archive([*_WHOLE, _PARTS], tarfile.USTAR_FORMAT, "{:06d}"),
    _archive([*_WHOLE[:2], _PARTS, *_WHOLE[2:]], tarfile.GNU_FORMAT, "f/" + "g" * 100 + "{:03d}"),
    _archive([_PARTS, *_WHOLE], tarfile.PAX_FORMAT, "ö/" + "p" * 100 + "{:03d}"),
)
"""One archive in each common format: short and long names, samples with one member and with several."""

JSON_WORDS = (
    *rb"\ud800 \u0000 null NaN [ { 1e999".split(),
    *(b'"', b"\n", b"\r", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xc2\x85", b"\xe2\x80\xa8"),
    *(b'"input": 1,', b'"contexts": "a",', b"9" * 5000, b"[" * 5000),
)
YAML_WORDS = (
    *b"*rows ! # { [ | ~ = :: no 012 1:30 1e3 0x1f .nan null 2024-01-01 rows.jsonl 0 1".split(),
    *(b"\n", b"\t", b" ", b": ", b"- ", b"? ", b"&a ", b"<<: ", b"!!python/object:os.system ", b"%YAML 1.2\n"),
    *(b"---\n", b"...\n", b"\x00", b"\xff", b"\xc2\x85", b"\xef\xbb\xbf", rb"\ud800", rb"\U00110000", rb"\UFFFFFFFF"),
    *(b"[" * 2000, b"0x" + b"f" * 5000, b"9" * 5000, b"1e" + b"9" * 5000, b"1" + b":1" * 400 + b".5"),
)
TAR_WORDS = (
    *b"x g L S 5 2 1 . / - _ size= path= GNU.sparse.map=0,1 ustar 7 77777777777".split(),
    *(b"\0", b"\n", b"\x80", b"\0" * 512, b"\xff" * 8, b"\xff" * 12, b"\x80" + b"\xff" * 11),
)
GZIP_WORDS = (b"\0", b"\x1f\x8b")
"""Bytes with a meaning for the readers of each kind."""


def mutated(content: bytes, draw: random.Random, words: Sequence[bytes]) -> bytes:
    """One to four changes: of a bit, a byte or a range of bytes, or a cut."""
    for _ in range(draw.choice((1, 1, 1, 2, 3, 4))):
        content = _changed(content or b"\n", draw, words)
    return content


def mutated_tar(draw: random.Random) -> bytes:
    """Mostly with new checksums for the changed headers, so that readers accept the headers."""
    content = mutated(draw.choice(ARCHIVES), draw, TAR_WORDS)
    if draw.random() < 0.3:
        return content
    blocks = [content[at : at + tarfile.BLOCKSIZE] for at in range(0, len(content), tarfile.BLOCKSIZE)]
    return b"".join(_with_checksum(block) if block[257:262] == b"ustar" else block for block in blocks)


def _changed(content: bytes, draw: random.Random, words: Sequence[bytes]) -> bytes:
    offsets: Sequence[int] = range(len(content))
    if draw.random() < 0.7:  # most of an archive is padding with zeros
        offsets = [offset for offset in offsets if content[offset]] or offsets
    at = draw.choice(offsets)
    end = min(at + draw.choice((1, 2, 8, 100, 512, 1024)), len(content))
    byte = draw.choice((draw.randbytes(1), *(bytes([draw.choice(content)]) for _ in range(3))))
    word = draw.choice((byte, draw.choice(words)))
    changes = (
        (3, content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]),
        (3, content[:at] + byte + content[at + 1 :]),
        (3, content[:at] + word + content[at:]),
        (2, content[:at] + word + content[at + len(word) :]),
        (2, content[:at] + content[end:]),
        (1, content[:end] + content[at:]),
        (1, content[:at] + content[end:] + content[at:end]),
        (1, content[:at]),
    )
    weights, results = zip(*changes, strict=True)
    return draw.choices(results, weights)[0]


def _with_checksum(block: bytes) -> bytes:
    return block[:148] + b"%06o\0 " % tarfile.calc_chksums(block.ljust(tarfile.BLOCKSIZE, b"\0"))[0] + block[156:]
