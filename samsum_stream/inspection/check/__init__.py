"""`check`: a description of a config's data, and findings, before training.

config ──gather──▶ Facts ──outline──▶ rows, prompt, lengths, packs, batches, lanes
                     └────advise────▶ Findings: the problem, its reason and its remedy
"""

from samsum_stream.inspection.check.advice import ADVICE, advise
from samsum_stream.inspection.check.checked import Checked, check_config, for_machines, shown_check
from samsum_stream.inspection.check.facts import Facts, gather
from samsum_stream.inspection.check.findings import Finding

__all__ = ["ADVICE", "Checked", "Facts", "Finding", "advise", "check_config", "for_machines", "gather", "shown_check"]
