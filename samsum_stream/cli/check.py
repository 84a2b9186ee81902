"""`samsum-stream check`."""

import json
from typing import Annotated

import typer

from samsum_stream.cli.options import Config, Json, Trust, show
from samsum_stream.inspection.check import check_config, for_machines, shown_check


def check(
    config: Config,
    model: Annotated[
        str | None, typer.Option(help="a causal language model to measure layouts with: a Hub id or a folder")
    ] = None,
    attn_implementation: Annotated[
        str | None, typer.Option(help="the attention of the model: eager, sdpa, flash_attention_2, ...")
    ] = None,
    ranks: Annotated[int, typer.Option(min=1, help="the number of data-parallel ranks in training")] = 1,
    num_workers: Annotated[
        int | None, typer.Option(min=0, help="the number of workers per rank; default: num_proc of the config")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="exit with code 1 also after a warning")] = False,
    as_json: Json = False,
    trust: Trust = None,
) -> None:
    """Describe the data of a config and find its problems from a few hundred rows, before training.

    With a model, measure which layouts isolate the documents of a batch, and the speed of each layout.
    """
    checked = check_config(
        config,
        model=model,
        attn_implementation=attn_implementation,
        ranks=ranks,
        num_workers=num_workers,
        trust=trust or [],
    )
    if as_json:
        typer.echo(json.dumps(for_machines(checked), indent=2))
    else:
        show(shown_check(checked))
    failing = {"error", "warning"} if strict else {"error"}
    levels = {finding.level for finding in checked.findings}
    if levels & failing:
        if "error" not in levels:
            typer.echo("exit code 1, because --strict allows no warning", err=True)
        raise typer.Exit(1)
