"""Starts the workers of a DataLoader. What prevents their start is one clear error."""

import multiprocessing
import os
import pickle
from collections.abc import Callable
from typing import TypeVar

from samsum_stream.errors import ConfigError, WorkerError
from samsum_stream.loader.processes.sending import forget_inherited, not_picklable, pickles

T = TypeVar("T")

NO_MAIN_GUARD = 78
"""The exit status of a worker that would start workers itself, because it runs the script of the user again."""


def started(start: Callable[[], T], worker_init_fn: object = None) -> T:
    """The result of `start`, the `__iter__` of a DataLoader with workers.

    Args:
        start: Starts the workers.
        worker_init_fn: The function of the user that each worker runs. It is the only value that `WorkerDataset` does
            not send itself.

    Raises:
        ConfigError: something cannot be sent to the workers.
        WorkerError: the server that forks the workers ended.
    """
    if _runs_script_again():
        os._exit(NO_MAIN_GUARD)  # the training process reports it
    try:
        return start()
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        if pickles(worker_init_fn):
            raise
        raise not_picklable(error, what="worker_init_fn") from error
    except (ConnectionError, EOFError) as error:
        raise WorkerError(
            f"loader: the process that forks the workers ended while it started ({type(error).__name__}: {error}); "
            "mend the error that it printed. If it printed none, put the code that starts workers under "
            '`if __name__ == "__main__":`'
        ) from error
    finally:
        forget_inherited()


def no_main_guard() -> ConfigError:
    """The error for a script that each worker runs again."""
    return ConfigError(
        "loader: workers that start by spawn or forkserver import the script, which must not start workers on import, "
        'and the script does; put the code that starts workers under `if __name__ == "__main__":`, or start them with '
        'loader(..., multiprocessing_context="fork") on Linux'
    )


def _runs_script_again() -> bool:
    """Whether this process is a worker that still imports the script of the user; `multiprocessing` asks the same."""
    return bool(getattr(multiprocessing.current_process(), "_inheriting", False))
