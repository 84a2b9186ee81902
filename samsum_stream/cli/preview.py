"""`samsum-stream preview`."""

from typing import Annotated

import typer

from samsum_stream.cli.options import Config, Trust, show
from samsum_stream.stream.stream import SFTStream


def preview(
    config: Config,
    n: Annotated[int, typer.Option("-n", min=1, help="the number of examples or packs")] = 3,
    packs: Annotated[bool, typer.Option("--packs", help="show packs as bars instead of examples")] = False,
    source: Annotated[str | None, typer.Option(help="show only this child of a mixture")] = None,
    ids: Annotated[bool, typer.Option("--ids", help="show every token above its id instead of text")] = False,
    trust: Trust = None,
) -> None:
    """Show the first examples as the model sees them, or the first packs, without reading the whole source."""
    stream = SFTStream.from_yaml(config, trust=trust or [])
    show(stream.preview(n, packs=packs, source=source, ids=ids), as_long_lines=True)
