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
        int | None, typer.Option(min=0, help="processes that read and tokenize; default: as in stream.loader()")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="seconds for the whole flow, and again for its stages")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    trust: Trust = None,
) -> None:
    """Measure the tokens per second of every stage and of the whole flow, and name the slowest stage."""
    typer.echo(f"measuring the whole flow for {seconds:g} s, then its stages for {seconds:g} s", err=True)
    open_stream = partial(SFTStream.from_yaml, config, trust=trust or [])
    benchmark = measure(open_stream, num_workers=num_workers, seconds=seconds)
    if as_json:
        typer.echo(json.dumps(asdict(benchmark)))
    else:
        show(shown_benchmark(benchmark))
