"""`samsum-stream bench`."""

import json
from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer

from samsum_stream.cli.options import Config, Trust, show
from samsum_stream.inspection.bench.bench import measure
from samsum_stream.inspection.bench.shown import shown_benchmark
from samsum_stream.stream.stream import SFTStream


def bench(
    config: Config,
    num_workers: Annotated[
        int | None, typer.Option(min=0, help="processes that read and tokenize; by default as the loader has it")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="how long to measure the whole, and then its stages")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    trust: Trust = None,
) -> None:
    """Measure how many tokens a second each stage makes, and all of them together, and which is the limit."""
    typer.echo(f"the whole flow is measured for {seconds:g} s, and its stages for as long", err=True)
    opened = partial(SFTStream.from_yaml, config, trust=trust or [])
    found = measure(opened, num_workers=num_workers, seconds=seconds)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
    else:
        show(shown_benchmark(found))
