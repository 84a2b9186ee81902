"""Every error that a user can cause.

    SamsumStreamError
    ├── ConfigError             the YAML, a key, or the value of a key
    │   └── TrustError          a name that would import code nobody trusted
    ├── SourceError             rows that cannot be opened or read
    │   └── RowError            one row that breaks a rule, with its position
    ├── TokenizerError          a tokenizer that cannot be loaded or proven
    │   └── BackendMismatchError    two backends that disagree about a text
    ├── ContaminationError      documents of a batch that see each other in the model at hand
    ├── TopologyError           ranks, workers and lanes that do not fit together
    ├── StateError              a position that is missing, torn, or of another stream
    └── WorkerError             a worker process that died or hangs

A message says the rule, the value it got, where, and the remedy.
"""

from typing import Any

__all__ = [
    "BackendMismatchError",
    "ConfigError",
    "ContaminationError",
    "RowError",
    "SamsumStreamError",
    "SourceError",
    "StateError",
    "TokenizerError",
    "TopologyError",
    "TrustError",
    "WorkerError",
]


class SamsumStreamError(Exception):
    """The root of all errors that this package raises on purpose."""


class ConfigError(SamsumStreamError):
    """A config that breaks a rule; the message names file, line and dotted path where they are known."""


class TrustError(ConfigError):
    """A config names code outside the modules that the caller trusts."""


class SourceError(SamsumStreamError):
    """Rows cannot be opened or read."""


class RowError(SourceError):
    """One row breaks a rule; the message starts with its position.

    Attributes:
        position: Where the row stands, a `RowPosition`; None where no source gave it.
        field: Which of its fields is bad; empty where the row is bad as a whole.
        reason: The rule, as `stats.skipped` names it; empty where a config asked for the error.
    """

    def __init__(self, message: str, *, position: Any = None, field: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.position, self.field, self.reason = position, field, reason


class TokenizerError(SamsumStreamError):
    """A tokenizer cannot be loaded, or its border between prompt and response cannot be proven."""


class BackendMismatchError(TokenizerError):
    """Two backends give different ids for the same text."""


class ContaminationError(SamsumStreamError):
    """Documents of a batch see each other in the model at hand; `report` has what was measured."""

    def __init__(self, message: str, *, report: Any) -> None:
        super().__init__(message)
        self.report = report


class TopologyError(SamsumStreamError):
    """Ranks, workers and lanes do not fit together."""


class StateError(SamsumStreamError):
    """A saved position is missing, torn, or belongs to another stream."""


class WorkerError(SamsumStreamError):
    """A worker process died or hangs; the loader's state still holds everything that was handed over."""
