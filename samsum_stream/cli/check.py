"""`samsum-stream check`."""

import json
from typing import Annotated

import typer

from samsum_stream.cli.options import Config, Json, Trust, show
from samsum_stream.inspection.check import check_config, for_machines, shown_check


def check(
    config: Config,
    model: Annotated[
        str | None, typer.Option(help="a causal language model, on which layouts are measured: a Hub id or a folder")
    ] = None,
    attn_implementation: Annotated[
        str | None, typer.Option(help="how the model attends: eager, sdpa, flash_attention_2, ...")
    ] = None,
    ranks: Annotated[int, typer.Option(min=1, help="how many ranks of data parallelism will train")] = 1,
    num_workers: Annotated[
        int | None, typer.Option(min=0, help="how many workers each of them will have; else the config's num_proc")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="warnings too are exit code 1")] = False,
    as_json: Json = False,
    trust: Trust = None,
) -> None:
    """Say what a config will feed, and what is amiss: from some hundred rows, before any time is spent on training.

    With a model, measure which layouts keep the documents of a batch apart in it, and how fast each is.
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
            typer.echo("exit code 1, because --strict lets no warning pass", err=True)
        raise typer.Exit(1)
