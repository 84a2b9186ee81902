"""What `samsum-stream check` finds out about a config before anything is trained, and what it advises.

config ──gather──▶ Facts ──outline──▶ what will be fed, and how
                     └────advise────▶ Findings: what is amiss, why, and what to do
"""

from samsum_stream.inspection.check.advice import ADVICE, advise
from samsum_stream.inspection.check.checked import Checked, check_config, for_machines, shown_check
from samsum_stream.inspection.check.facts import Facts, gather
from samsum_stream.inspection.check.findings import Finding

__all__ = ["ADVICE", "Checked", "Facts", "Finding", "advise", "check_config", "for_machines", "gather", "shown_check"]
