"""`samsum-stream stats`."""

import json

import typer

from samsum_stream.cli.options import Config, Json, NumWorkers, Trust, show
from samsum_stream.inspection.survey.shown import shown_survey, survey_for_machines
from samsum_stream.inspection.survey.survey import survey
from samsum_stream.stream.stream import SFTStream


def stats(
    config: Config,
    num_workers: NumWorkers = 0,
    as_json: Json = False,
    trust: Trust = None,
) -> None:
    """Read all rows once, and print their lengths, their outcomes, and how full packs of other sizes would be."""
    result = survey(SFTStream.from_yaml(config, trust=trust or []), num_workers=num_workers)
    if as_json:
        typer.echo(json.dumps(survey_for_machines(result), indent=2))
    else:
        show(shown_survey(result))
