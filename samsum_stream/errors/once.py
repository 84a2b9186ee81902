"""Warnings that are logged once."""

import functools
import logging


@functools.cache
def warn_once(logger: logging.Logger, message: str, *args: object) -> None:
    """Log a warning, unless this process has logged the same one before."""
    logger.warning(message, *args)
