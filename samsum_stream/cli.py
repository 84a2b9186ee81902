"""The command `samsum-stream`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from samsum_stream.config import load_config
from samsum_stream.errors import ContaminationError, SamsumStreamError
from samsum_stream.model_loading import load_model
from samsum_stream.showing import shown_batch, shown_report
from samsum_stream.stream import SFTStream
from samsum_stream.trace import read_state, trace_batch

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

# Rows contain brackets and colons, which rich would otherwise read as markup and emoji.
console = Console(markup=False, emoji=False, highlight=False)

Config = Annotated[Path, typer.Argument(help="the YAML file of a stream")]
Trust = Annotated[list[str] | None, typer.Option(help="a module whose code the config may name; may be repeated")]


@app.callback()
def main() -> None:
    """Looks into streams of fine-tuning data."""


@app.command()
def check(
    config: Config,
    model: Annotated[str, typer.Option(help="a causal language model: a Hub id or a folder")],
    attn_implementation: Annotated[
        str | None, typer.Option(help="how the model attends: eager, sdpa, flash_attention_2, ...")
    ] = None,
    trust: Trust = None,
) -> None:
    """Measure which layouts keep the documents of a batch apart in a model, and how fast each is."""
    with _told():
        stream = SFTStream.from_yaml(config, trust=trust or [])
        loaded = load_model(model, attn_implementation=attn_implementation)
        try:
            report = stream.check_model(loaded)
        except ContaminationError as error:
            console.print(shown_report(error.report))
            raise
        console.print(shown_report(report))
        console.print(f"best for this config: {report.best.layout}")


@app.command()
def trace(
    config: Config,
    batch: Annotated[int, typer.Option(min=0, help="the number of a global batch, from 0")],
    state: Annotated[
        Path | None, typer.Option(help="a saved state to read on from: a file, or the folder of loader.save")
    ] = None,
    lanes: Annotated[
        int | None, typer.Option(min=1, help="how many lanes the run had, where the config says auto")
    ] = None,
    trust: Trust = None,
) -> None:
    """Print the rows of one global batch, rendered with their mask: what the model saw when the loss spiked."""
    with _told():
        parsed = load_config(config)
        if lanes is not None:
            parsed = parsed.model_copy(update={"lanes": lanes})
        stream = SFTStream(parsed, trust=trust or [])
        if parsed.lanes == "auto" and state is None:
            number = stream.pipeline.lanes_for(1)
            typer.echo(
                f"lanes: auto is taken as for one process: {number}; say --lanes if the run had others", err=True
            )
        info = trace_batch(stream, batch, state=None if state is None else read_state(state))
        console.print(shown_batch(info, stream.tokenizer), soft_wrap=True)


@contextmanager
def _told() -> Iterator[None]:
    """A user's error is a message and exit code 1, no traceback."""
    try:
        yield
    except SamsumStreamError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(1) from None
