"""Jobs of several processes, which tests start and kill with SIGKILL; `Jobs` kills the remaining jobs at its end."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
MARK = "SAMSUM_STREAM_TEST_JOB"
"""An environment variable that every process of a job inherits.

A launcher starts ranks in separate sessions and may die before them, so neither session nor parent identifies them.
"""


class Job:
    """A command that runs in one process, or in several processes that it starts.

    Attributes:
        output: The file of its stdout and stderr.
    """

    def __init__(self, command: Sequence[str], *, output: Path, environment: Mapping[str, str]) -> None:
        self.mark, self.output = f"{MARK}={uuid.uuid4().hex}", output
        environment = {
            **os.environ,
            **environment,
            "OMP_NUM_THREADS": "1",
            "PYTHONFAULTHANDLER": "1",
            "PYTHONPATH": str(ROOT),
            MARK: self.mark.partition("=")[2],
        }
        with output.open("w") as log:
            self.launcher = subprocess.Popen(
                command, cwd=ROOT, env=environment, start_new_session=True, stdout=log, stderr=log
            )

    def pids(self) -> list[int]:
        """The running processes of the job by process id: launcher, ranks and their workers."""
        return sorted(int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if self._owns(path))

    def kill(self, first: Sequence[int] = ()) -> None:
        """Kill all processes of the job. Kill those in `first` before the search for others, to save milliseconds."""
        for pid in first:
            _kill(pid)
        while pids := self.pids():
            for pid in pids:
                _kill(pid)
            time.sleep(0.01)
        self.launcher.wait()

    def wait(self, *, timeout: float = 120) -> int:
        """The exit status.

        Raises:
            AssertionError: the job runs longer; the message has its output and the stacks of all threads.
        """
        try:
            return self.launcher.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            for pid in reversed(self.pids()):
                _kill(pid, signal.SIGABRT)
                time.sleep(0.2)  # all processes write their stacks to one file
            self.launcher.wait(timeout=timeout)
            raise AssertionError(f"the job still ran after {timeout} seconds:\n{self.output.read_text()}") from None

    def finish(self, *, timeout: float = 120) -> None:
        """Raise an `AssertionError` with the output if the exit status is not zero."""
        assert self.wait(timeout=timeout) == 0, self.output.read_text()

    def wait_until(self, condition: Callable[[], bool], *, every: float = 0.01, timeout: float = 120) -> None:
        """Raise an `AssertionError` with the output if the job ends or `timeout` passes before the condition holds."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert self.launcher.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(every)

    def _owns(self, environ: Path) -> bool:
        try:
            return self.mark.encode() in environ.read_bytes().split(b"\0")
        except OSError:
            return False  # the process has ended, or belongs to another user


class Jobs:
    """Starts jobs. The end of the `with` block kills all jobs that still run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[Job] = []

    def start(self, module: str, *arguments: object, ranks: int | None = None) -> Job:
        """Start a module with `ranks` ranks, or in a plain Python process if `ranks` is None."""
        launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m"] if ranks else []
        return self.launch("-m", *launcher, module, *arguments)

    def launch(self, *arguments: object, **environment: str) -> Job:
        """Start Python with these arguments."""
        command = [sys.executable, *map(str, arguments)]
        output = self.folder / f"job-{len(self._started):02}.output"
        job = Job(command, output=output, environment=environment)
        self._started.append(job)
        return job

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for job in self._started:
            job.kill()


def _kill(pid: int, number: int = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
