"""`samsum-stream preview`."""

from typing import Annotated

import typer

from samsum_stream.cli.options import Config, Trust, show
from samsum_stream.stream.stream import SFTStream


def preview(
    config: Config,
    n: Annotated[int, typer.Option("-n", min=1, help="how many examples, or packs")] = 3,
    packs: Annotated[bool, typer.Option("--packs", help="packs as bars, in the place of examples")] = False,
    source: Annotated[str | None, typer.Option(help="the name of a mixture's child, to see that one alone")] = None,
    ids: Annotated[bool, typer.Option("--ids", help="each token above its id, in the place of text")] = False,
    trust: Trust = None,
) -> None:
    """Show the first examples as the model will see them, or the first packs, without reading the whole source."""
    stream = SFTStream.from_yaml(config, trust=trust or [])
    show(stream.preview(n, packs=packs, source=source, ids=ids), as_long_lines=True)
