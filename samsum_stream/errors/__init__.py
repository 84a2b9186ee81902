"""All errors that a user can cause.

    SamsumStreamError
    ├── ConfigError                 a config, a key, or a value breaks a rule
    │   └── TrustError              a name would import code from a module that is not trusted
    ├── SourceError                 rows cannot be opened or read
    │   └── RowError                one row breaks a rule
    ├── TokenizerError              a tokenizer cannot be loaded, or its borders cannot be proven
    │   └── BackendMismatchError    two backends encode a text differently
    ├── ContaminationError          documents of a batch attend to each other in the model
    ├── TopologyError               the numbers of ranks, workers and lanes do not fit together
    ├── StateError                  a saved state is missing, incomplete, or belongs to another stream
    └── WorkerError                 a worker process or another rank died or hangs

A message gives the place, the rule, the value, and after the last "; " the remedy.
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
    """The base class of all errors that this package raises on purpose."""


class ConfigError(SamsumStreamError):
    """A config, a key or a value breaks a rule; the message gives file, line and dotted path if they are known."""


class TrustError(ConfigError):
    """A config names code outside the modules that the caller trusts."""


class SourceError(SamsumStreamError):
    """Rows cannot be opened or read."""


class RowError(SourceError):
    """One row breaks a rule; the message starts with its position.

    Attributes:
        position: The `RowPosition` of the row; None if no source read the row.
        field: The bad field; empty if the whole row is bad.
        reason: The rule, as a key of `stats.skipped`; empty if a policy of the config makes the row an error.
    """

    def __init__(self, message: str, *, position: Any = None, field: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.position, self.field, self.reason = position, field, reason


class TokenizerError(SamsumStreamError):
    """A tokenizer cannot be loaded, or its border between prompt and completion cannot be proven."""


class BackendMismatchError(TokenizerError):
    """Two backends encode the same text to different ids."""


class ContaminationError(SamsumStreamError):
    """Documents of a batch attend to each other in the model.

    Attributes:
        report: The `ModelReport` with the measurements.
    """

    def __init__(self, message: str, *, report: Any) -> None:
        super().__init__(message)
        self.report = report


class TopologyError(SamsumStreamError):
    """The numbers of ranks, workers and lanes do not fit together."""


class StateError(SamsumStreamError):
    """A saved state is missing, incomplete, or belongs to another stream."""


class WorkerError(SamsumStreamError):
    """A worker process or another rank died or hangs; the state of the loader still covers all delivered batches."""
