"""`samsum-stream check`."""

from typing import Annotated

import typer

from samsum_stream.commands.options import Config, Trust, console
from samsum_stream.errors import ContaminationError
from samsum_stream.model_loading import load_model
from samsum_stream.showing import shown_report
from samsum_stream.stream import SFTStream


def check(
    config: Config,
    model: Annotated[str, typer.Option(help="a causal language model: a Hub id or a folder")],
    attn_implementation: Annotated[
        str | None, typer.Option(help="how the model attends: eager, sdpa, flash_attention_2, ...")
    ] = None,
    trust: Trust = None,
) -> None:
    """Measure which layouts keep the documents of a batch apart in a model, and how fast each is."""
    stream = SFTStream.from_yaml(config, trust=trust or [])
    loaded = load_model(model, attn_implementation=attn_implementation)
    try:
        report = stream.check_model(loaded)
    except ContaminationError as error:
        console.print(shown_report(error.report))
        raise
    console.print(shown_report(report))
    console.print(f"best for this config: {report.best.layout}")
