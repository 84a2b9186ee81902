"""A process that ends with open iterators prints nothing."""

import os
import subprocess
import sys
from pathlib import Path

from tests.jobs.killing import ROOT

SCRIPT = """
import sys
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from torch.utils.data import DataLoader
from tests.streams import make_rows, make_stream

FOLDER = sys.argv[1]
pq.write_table(pa.Table.from_pylist(make_rows(600)), f"{FOLDER}/rows.parquet")
fsspec.filesystem("memory").pipe("/rows.parquet", Path(f"{FOLDER}/rows.parquet").read_bytes())


def stream_of(path):
    source = {"method": "parquet", "kwargs": {"path": path}}
    prompt = {"kwargs": {"response_template": "say {text}"}}
    return make_stream(source_config=source, prompt_config=prompt, epochs=None, lanes=2)


def open_iterators(path):
    yield iter(stream_of(path).loader())
    yield iter(stream_of(path).loader(prefetch_factor=2))
    yield iter(stream_of(path))
    stream = stream_of(path)
    yield iter(DataLoader(stream, batch_size=2, collate_fn=stream.collator))


opened = [iterator for path in (f"{FOLDER}/rows.parquet", "memory://rows.parquet") for iterator in open_iterators(path)]
opened.append(iter(stream_of(f"{FOLDER}/rows.parquet").loader(num_workers=2, multiprocessing_context="fork")))
for iterator in opened:
    next(iterator)
print(len(opened), "open iterators")
"""


def test_iterators_that_are_still_open_when_python_exits_print_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "9 open iterators\n", "")
