"""Where a process stands: it writes the stack of each of its threads to stderr when another one asks for it.

The answer needs nothing of Python, so that a process which waits for a lock for ever gives it too.
"""

import faulthandler
import os
import signal
from pathlib import Path

STDERR = 2
ASKING = getattr(signal, "SIGRTMAX", None)
"""The signal that asks, which hardly anything else uses; there is none on systems without real-time signals."""


def answer_when_asked() -> None:
    """Let this process answer, and those that are forked from it."""
    if ASKING is not None and signal.getsignal(ASKING) == signal.SIG_DFL:
        faulthandler.unregister(ASKING)  # who sets signals back, as Lightning does, leaves it registered for nothing
        faulthandler.register(ASKING, file=STDERR)


def ask(pid: int) -> bool:
    """Ask a process, where it answers, and say whether it does: any other one would be killed by the signal."""
    if ASKING is None or not _catches(pid, ASKING):
        return False
    os.kill(pid, ASKING)
    return True


def _catches(pid: int, number: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    [caught] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(caught, 16) >> (number - 1) & 1)
