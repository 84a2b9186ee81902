"""Jobs of `examples/elastic_torchrun.py` and `elastic_torchft.py` whose agents are killed, and their journals."""

import json
import os
import signal
import socket
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.jobs.killing import ROOT, Job, Jobs

EXAMPLES = ROOT / "examples"
ENVIRONMENT = {
    "GLOO_SOCKET_IFNAME": "lo",
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    "HF_HUB_OFFLINE": "1",
}


class Line(NamedTuple):
    """What one rank wrote after one step.

    Attributes:
        start: When the ranks were started, or, with torchft, when they had read the rows; in nanoseconds.
        time: When the step was complete, in seconds.
        seconds: What the start of the rank took.
        rows: The rows of each global batch of the rank.
    """

    start: int
    step: int
    loss: float
    num_ranks: int
    time: float
    seconds: dict[str, float]
    rows: dict[str, list[str]]


class Agents:
    """The agents of torchrun on this machine. Each agent has one rank, as if it was a machine."""

    def __init__(self, jobs: Jobs, *arguments: object, **environment: str) -> None:
        self._jobs, self.agents, self.journal = jobs, list[Job](), jobs.folder / "journal"
        launcher = ("-m", "torch.distributed.run", "--nproc-per-node=1", "--max-restarts=100", "--monitor-interval=0.2")
        self._command = [*launcher, "--local-addr=127.0.0.1", *arguments, "--folder", jobs.folder / "checkpoints"]
        self._environment = {**ENVIRONMENT, **environment}

    def add_agent(self) -> None:
        self.agents.append(self._jobs.launch(*self._command, **self._environment))

    def lose_agent(self, agent: Job) -> None:
        """Kill an agent and its rank, as if a machine was switched off."""
        agent.kill(agent.pids())
        self.agents.remove(agent)

    def kill_rank(self, agent: Job) -> bool:
        """Kill the rank of an agent; returns whether it had one."""
        ranks = [pid for pid in agent.pids() if pid != agent.launcher.pid]
        for pid in ranks:
            os.kill(pid, signal.SIGKILL)
        return bool(ranks)

    def wait(self, *, after_step: int) -> None:
        """Wait until as many ranks as agents have completed a step after `after_step`."""
        wait_for_ranks(self.agents[0], self.journal, num_ranks=len(self.agents), after_step=after_step)

    def finish(self, *, timeout: float = 300) -> None:
        for agent in self.agents:
            agent.finish(timeout=timeout)


class Training(Agents):
    """A job of `elastic_torchrun.py`: all ranks start again if one is lost."""

    def __init__(self, jobs: Jobs, *, max_agents: int, max_steps: int, save_steps: int, port: int = 0) -> None:
        """Use the rendezvous at `port`; if it is 0, the first agent holds the rendezvous."""
        conf = {"last_call_timeout": 5, "keep_alive_interval": 2, "keep_alive_max_attempt": 4}
        if port:
            conf["is_host"] = 0
        super().__init__(
            jobs,
            *(f"--nnodes=1:{max_agents}", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port or free_port()}"),
            *("--rdzv-id=elastic", "--rdzv-conf", ",".join(f"{key}={value}" for key, value in conf.items())),
            *(EXAMPLES / "elastic_torchrun.py", "--timeout=60"),
            *options(jobs.folder / "journal", max_steps=max_steps, save_steps=save_steps),
        )


class ReplicaGroups(Agents):
    """A job of `elastic_torchft.py`: the other ranks go on if one is lost. Each agent is a replica group."""

    def __init__(self, jobs: Jobs, *, max_steps: int, save_steps: int) -> None:
        self._port = free_port()
        super().__init__(
            jobs,
            *("--standalone", EXAMPLES / "elastic_torchft.py", "--timeout=5"),
            *options(jobs.folder / "journal", max_steps=max_steps, save_steps=save_steps),
            TORCHFT_LIGHTHOUSE=f"http://127.0.0.1:{self._port}",
            TORCH_DISABLE_SHARE_RDZV_TCP_STORE="0",  # the agent holds the store in which the groups meet
        )

    def start_lighthouse(self) -> Job:
        """Start the process in which the groups meet."""
        script = Path(sysconfig.get_path("scripts")) / "torchft_lighthouse"
        timeouts = ("--heartbeat_timeout_ms=1000", "--join_timeout_ms=2000")
        return self._jobs.launch(script, "--min_replicas=1", f"--bind=127.0.0.1:{self._port}", *timeouts)


def options(journal: Path, *, max_steps: int, save_steps: int) -> Sequence[object]:
    return "--journal", journal, "--max-steps", max_steps, "--save-steps", save_steps


def start_whole_run(jobs: Jobs, *, max_steps: int) -> tuple[Job, Path]:
    """Start an uninterrupted run of one process; returns its journal too."""
    journal = jobs.folder / "whole"
    group = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    length = options(journal, max_steps=max_steps, save_steps=max_steps)
    script = (EXAMPLES / "elastic_torchrun.py", "--folder", jobs.folder / "whole-checkpoints")
    return jobs.launch(*script, *length, **ENVIRONMENT, **group), journal


def start_store(jobs: Jobs) -> int:
    """Start the process that holds the rendezvous; returns its port."""
    store = jobs.launch(EXAMPLES / "elastic_store.py", "--host=127.0.0.1", "--port=0")
    store.wait_until(lambda: "at port" in store.output.read_text())
    return int(store.output.read_text().split()[-1])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def lines_of(journal: Path) -> list[Line]:
    """The complete lines of all ranks, in the order of their time; a kill may leave the last line incomplete."""
    texts = [text for path in journal.glob("*.jsonl") for text in path.read_text().split("\n")[:-1]]
    lines = [Line(**json.loads(text)) for text in texts]
    return sorted(lines, key=lambda line: line.time)


def wait_for_ranks(job: Job, journal: Path, *, num_ranks: int, after_step: int, timeout: float = 240) -> None:
    """Wait until `num_ranks` ranks, which were started last, have completed a step after `after_step`."""

    def have_progress() -> bool:
        lines = lines_of(journal)
        newest = max((line.start for line in lines), default=0)
        return any((line.start, line.num_ranks) == (newest, num_ranks) and line.step > after_step for line in lines)

    job.wait_until(have_progress, every=0.1, timeout=timeout)


def reached(journal: Path) -> int:
    """The last step of any rank."""
    return max((line.step for line in lines_of(journal)), default=0)


def assert_equal_steps(interrupted: Sequence[Line], whole: Sequence[Line], *, max_difference: float = 1e-5) -> None:
    """All steps are those of an uninterrupted run of one process: rows and losses.

    A step that was lost and repeated has the same rows and the same loss each time. Its last repetition is complete:
    each batch was read by one rank.
    """
    expected = {line.step: line for line in whole}
    last_start = {step: max(line.start for line in interrupted if line.step == step) for step in expected}
    rows: dict[int, list[tuple[str, list[str]]]] = {step: [] for step in expected}
    for line in interrupted:
        assert line.rows.items() <= expected[line.step].rows.items(), f"step {line.step} has other rows"
        assert abs(line.loss - expected[line.step].loss) < max_difference, f"step {line.step} has another loss"
        if line.start == last_start[line.step]:
            rows[line.step] += line.rows.items()
    for step, line in expected.items():
        assert sorted(rows[step]) == sorted(line.rows.items()), f"step {step} is not complete"


class Loss(NamedTuple):
    """What one kill cost.

    Attributes:
        seconds: From the kill until a step was complete that was not complete before.
        steps: The steps that were repeated.
        prepared: The seconds of these in which the slowest rank opened the stream and measured the model.
        data: The seconds in which the slowest rank loaded the state and produced its first batch.
    """

    seconds: float
    steps: int
    prepared: float
    data: float


def loss_of(kill: float, lines: Sequence[Line]) -> Loss:
    """The cost of a kill at a time."""
    before, after = ([line for line in lines if (line.start > kill * 1e9) == is_after] for is_after in (False, True))
    reached = max(line.step for line in before if line.start == before[-1].start)
    recovered = next(line for line in after if line.step > reached)
    ranks = [line.seconds for line in after if line.start == recovered.start]
    first = min(line.step for line in after if line.start == recovered.start)
    return Loss(
        recovered.time - kill,
        reached + 1 - first,
        max(seconds["prepared"] for seconds in ranks),
        max(seconds["loaded"] + seconds["first_batch"] for seconds in ranks),
    )
