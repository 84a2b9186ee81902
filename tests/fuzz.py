"""Inputs with changed bytes end in an error of the package, or in the rows and batches of an independent reader.

    python -m tests.fuzz --mutations 10000

                            ┌── samsum_stream ───▶ rows, bad rows, batches, or an error ──┐
input ──mutated──▶ bytes ───┤                                                             ├── equal?
                            └── tests.oracles ───▶ rows, bad rows, or broken file ────────┘

Mutation `i` depends only on the seed and on `i`. The command prints the number of mutations for each kind of input and
outcome. Its exit status is 1 if a mutation ended in another exception, in a hang, or in other rows or batches.
"""

import argparse
import gzip
import logging
import random
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from samsum_stream import RowError, SamsumStreamError, SFTStream
from samsum_stream.config.loading import load_config, parse_config
from samsum_stream.sources import SOURCES, as_source
from samsum_stream.sources.faults import RAISE, Faults
from tests import oracles
from tests.mutations import ARCHIVES, CONFIGS, GZIP_WORDS, JSON_WORDS, LINES, YAML_WORDS, mutated, mutated_tar
from tests.resuming import equal
from tests.streams import make_stream, rows_of_one_lane, word_tokenizer

MAX_SECONDS = 20.0
"""A mutation that takes longer counts as a hang."""

MAX_BATCHES = 10
"""Batches that are read of a config, because its stream may be endless."""

MAX_NUMBER = 300
"""A config with a larger number is read but not run, because it could need much memory and time."""

TOKENIZER = word_tokenizer()


class Violation(Exception):
    """An outcome that must not occur; the message gives the values."""


class Hang(BaseException):
    """A timeout; not an `Exception`, so that `except Exception` does not catch it."""


# -------------------------------------------------------------------------------------------------------------- rows


def check_rows(content: bytes, name: str, expected: oracles.Reading) -> str:
    """Compare the rows under both policies for bad rows, and the batches; returns the outcome."""
    Path(name).write_bytes(content)
    method, key = ("jsonl", "path") if "jsonl" in name else ("webdataset", "urls")
    config = {"method": method, "kwargs": {key: name}}
    good = [(number, row) for number, row in enumerate(expected.rows) if row is not None]
    bad = [number for number, row in enumerate(expected.rows) if row is None]
    read, skipped, error = _read(config, Faults(skips=True, max_bad_rows=len(expected.rows) + 1))
    if error is not None:
        _check_error(error, read, good, name=name, is_right=expected.is_whole and bool(expected.rows))
        return "error"
    if not expected.is_whole or read != good or skipped != bad:
        raise Violation(f"{read}, bad {skipped}; expected {good}, bad {bad}, whole: {expected.is_whole}")
    _, _, error = _read(config, RAISE)
    if not isinstance(error, RowError | None) or (error.position.row not in bad if error else bad):
        raise Violation(f"rows {bad} are bad, and the first must end the stream: {error!r}")
    if not good:
        return "bad rows only"
    rows = [{"input": row[0], "response": row[1], "contexts": row[2]} for _, row in good]
    _compare(_batches(_stream(None, config)), _batches(_stream(rows, {})))
    return "rows without bad ones" if bad else "rows"


def _check_error(error: SamsumStreamError, read: list[Any], good: list[Any], *, name: str, is_right: bool) -> None:
    if is_right or isinstance(error, RowError) or name not in str(error):
        raise Violation(f"the file is {'whole' if is_right else 'broken'}, and the error {error!r}")
    if not name.endswith(".gz") and read != good[: len(read)]:
        raise Violation(f"rows before the error: {read}; expected {good}")


def _read(config: dict[str, Any], faults: Faults) -> tuple[list[Any], list[int], SamsumStreamError | None]:
    """The rows with their numbers, the numbers of bad rows, and the error, if there was one."""
    read, skipped = [], list[int]()
    try:
        source = as_source(SOURCES[config["method"]](**config["kwargs"]), name="rows", columns={})
        for rows in rows_of_one_lane(source, faults):
            texts = zip(
                rows.content.inputs, rows.content.responses, rows.content.contexts or [[]] * len(rows), strict=True
            )
            read += zip(rows.rows.tolist(), texts, strict=True)
            skipped += [bad.position.row for _, bad in rows.skipped]
    except SamsumStreamError as error:
        return read, skipped, error
    return read, skipped, None


def _stream(rows: Any, source_config: dict[str, Any]) -> SFTStream:
    skip = {"on_bad_row": "skip", "max_bad_rows": 10_000}
    return make_stream(rows, source_config=source_config, fault_config=skip, lanes=1, shuffle=False, max_length=80)


# ------------------------------------------------------------------------------------------------------------ configs


def check_yaml(content: bytes) -> str:
    """Compare the values, and the batches with those of a stream from a mapping; returns the outcome."""
    Path("rows.jsonl").write_text(LINES)
    Path("stream.yaml").write_bytes(content)
    expected = oracles.config(content)
    try:
        config = load_config("stream.yaml")
    except SamsumStreamError as error:
        if "stream.yaml" not in str(error):
            raise Violation(f"the error does not name the file: {error!r}") from None
        return "error"
    if expected is None or config != parse_config(expected):
        raise Violation(f"{config}; expected {expected}")
    if missing := _missing(_without_older_keys(expected), config.model_dump()):
        raise Violation(f"the file has {missing}")
    if any(number > MAX_NUMBER for number in _numbers(expected)):
        return "values, not run"
    batches = _outcome(lambda: SFTStream.from_yaml("stream.yaml", tokenizer=TOKENIZER))
    _compare(batches, _outcome(lambda: SFTStream.from_config(expected, tokenizer=TOKENIZER)))
    return "batches" if batches else "error"


def _outcome(make: Callable[[], SFTStream]) -> list[dict[str, Any]]:
    """The first batches; an empty list if the stream ends in an error."""
    try:
        return _batches(make())
    except SamsumStreamError:
        return []


def _without_older_keys(data: dict[str, Any]) -> dict[str, Any]:
    """The values of older keys under the current keys."""
    data = {key: value for key, value in data.items() if key != "dataset_writer_config"}
    if "chunksize" in data:
        packing = data.get("packing_config", {})
        kwargs = {**packing.get("kwargs", {}), "max_length": data.pop("chunksize")}
        data["packing_config"] = {**packing, "kwargs": kwargs}
    return data


def _missing(data: Any, config: Any, path: str = "") -> str | None:
    """The first value of a file that a config does not have; numbers, texts and flags are different values."""
    if isinstance(data, dict) and isinstance(config, dict):
        missing = (_missing(data[key], config.get(key), f"{path}.{key}") for key in data)
        return next(filter(None, missing), None)
    return None if yaml.safe_dump(data) == yaml.safe_dump(config) else f"{path}: {data!r}, not {config!r}"


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _numbers(item)
    elif isinstance(value, int | float):
        yield abs(value)


def _batches(stream: SFTStream) -> list[dict[str, Any]]:
    return list(islice(stream.loader(num_workers=0), MAX_BATCHES))


def _compare(batches: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    if len(batches) != len(expected) or not all(map(equal, batches, expected)):
        raise Violation(f"batches {batches}; expected {expected}")


# ------------------------------------------------------------------------------------------------------------ running


def _lines(draw: random.Random) -> bytes:
    return mutated(LINES.encode(), draw, JSON_WORDS)


def _jsonl(draw: random.Random) -> str:
    content = _lines(draw)
    return check_rows(content, "rows.jsonl", oracles.jsonl(content))


def _tar(draw: random.Random) -> str:
    content = mutated_tar(draw)
    return check_rows(content, "rows.tar", oracles.tar(content))


def _gzip(draw: random.Random) -> str:
    """Lines or an archive, changed before compression, after it, or both."""
    name, whole, change, read = draw.choice(
        (
            ("rows.jsonl.gz", LINES.encode(), _lines, oracles.jsonl),
            ("rows.tar.gz", ARCHIVES[0], mutated_tar, oracles.tar),
        )
    )
    before, after = draw.choice(((True, False), (False, True), (True, True)))
    content = gzip.compress(change(draw) if before else whole, mtime=0)
    content = mutated(content, draw, GZIP_WORDS) if after else content
    unpacked = oracles.unpacked(content)
    return check_rows(content, name, oracles.Reading([], is_whole=False) if unpacked is None else read(unpacked))


def _yaml(draw: random.Random) -> str:
    return check_yaml(mutated(draw.choice(CONFIGS).encode(), draw, YAML_WORDS))


KINDS: dict[str, Callable[[random.Random], str]] = {"yaml": _yaml, "jsonl": _jsonl, "tar": _tar, "gzip": _gzip}


class Result(NamedTuple):
    """The number of mutations by kind of input and outcome, and the violations with the number of the mutation."""

    counts: Counter[tuple[str, str]]
    violations: list[str]


def fuzz(mutations: int, *, seed: int = 0, first: int = 0) -> Result:
    """Run `mutations` mutations from number `first` on, with the kinds in turn, in a temporary folder."""
    result, names = Result(Counter(), []), list(KINDS)
    with tempfile.TemporaryDirectory() as folder, chdir(folder), _without_advice():
        for index in range(first, first + mutations):
            kind = names[index % len(names)]
            try:
                with _time_limit():
                    outcome = KINDS[kind](random.Random(f"{seed}/{index}"))
            except (Exception, Hang) as error:
                outcome = f"! {type(error).__name__}"
                result.violations.append(f"{kind}, mutation {index} of seed {seed}: {traceback.format_exc()}")
            result.counts[kind, outcome] += 1
    return result


@contextmanager
def _time_limit() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Hang(f"longer than {MAX_SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _without_advice() -> Iterator[None]:
    """Without the warnings about prompts without separators and writers that do not write."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation, to repeat one")
    arguments = parser.parse_args()
    counts, violations = fuzz(arguments.mutations, seed=arguments.seed, first=arguments.first)
    for (kind, outcome), count in sorted(counts.items()):
        print(f"{kind:6} {outcome:20} {count:6,}")
    print(*violations, sep="\n", end="")
    print(f"{arguments.mutations:,} mutations, {len(violations):,} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
