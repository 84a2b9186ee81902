"""`samsum-stream trace`."""

from pathlib import Path
from typing import Annotated

import typer

from samsum_stream.cli.options import Config, Trust, show
from samsum_stream.config import load_config
from samsum_stream.inspection.trace import read_state, trace_batch
from samsum_stream.showing import TokenDecoder, shown_batch
from samsum_stream.stream.stream import SFTStream


def trace(
    config: Config,
    batch: Annotated[int, typer.Option(min=0, help="the number of a global batch, from 0")],
    state: Annotated[
        Path | None, typer.Option(help="a saved state to start from: a file, or the folder of loader.save")
    ] = None,
    lanes: Annotated[
        int | None, typer.Option(min=1, help="the number of lanes of the run, if the config has lanes: auto")
    ] = None,
    trust: Trust = None,
) -> None:
    """Print the rows of one global batch with their mask, to see the input of the model when the loss spiked."""
    parsed = load_config(config)
    if lanes is not None:
        parsed = parsed.model_copy(update={"lanes": lanes})
    stream = SFTStream(parsed, trust=trust or [])
    if parsed.lanes == "auto" and state is None:
        number = stream.pipeline.lanes_for(1)
        text = f"lanes: auto means lanes: {number}, as for one process; pass --lanes if the run had another number"
        typer.echo(text, err=True)
    info = trace_batch(stream, batch, state=None if state is None else read_state(state, up_to=batch))
    picture = shown_batch(info, TokenDecoder(stream.tokenizer), max_length=stream.collator.max_length)
    show(picture, as_long_lines=True)
