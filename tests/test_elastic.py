"""Training goes on when ranks and machines are lost and come back: each step has the rows and the loss of one process.

`pytest -n0 -m slow -s tests/test_elastic.py` prints what each loss costs.
"""

import importlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.jobs.elastic import (
    ENVIRONMENT,
    EXAMPLES,
    ReplicaGroups,
    Training,
    assert_equal_steps,
    lines_of,
    loss_of,
    options,
    reached,
    start_store,
    start_whole_run,
    wait_for_ranks,
)
from tests.jobs.killing import Job, Jobs


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    with Jobs(tmp_path) as jobs:
        yield jobs


@pytest.fixture
def elastic(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that both examples share, imported as the examples import it."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("elastic")


def test_ranks_share_the_batches_of_a_step(elastic: ModuleType) -> None:
    assert [elastic.share_of(num_ranks) for num_ranks in (1, 2, 3, 4, 6, 12)] == [12, 6, 4, 3, 2, 1]
    with pytest.raises(SystemExit, match=r"5 ranks cannot share the 12 batches .* start 1, 2, 3, 4, 6 or 12 ranks"):
        elastic.share_of(5)


@pytest.mark.slow
def test_a_killed_rank_is_started_again_and_all_steps_equal_those_of_one_process(jobs: Jobs) -> None:
    chooser = random.Random()
    training = Training(jobs, max_agents=2, max_steps=24, save_steps=5)
    for _ in range(2):
        training.add_agent()
    training.wait(after_step=2)
    whole, journal = start_whole_run(jobs, max_steps=24)
    time.sleep(chooser.random())
    killed = time.time()
    assert training.kill_rank(chooser.choice(training.agents))
    training.finish()
    whole.finish()
    lines = lines_of(training.journal)
    assert len({line.start for line in lines}) > 1
    assert_equal_steps(lines, lines_of(journal))
    print(loss_of(killed, lines))


@pytest.mark.slow
def test_twenty_losses_of_ranks_and_machines_change_no_step(jobs: Jobs) -> None:
    """From four machines to three, to two, and to four again, five times; the rendezvous is held outside of them."""
    chooser = random.Random(0)
    training = Training(jobs, max_agents=4, max_steps=400, save_steps=5, port=start_store(jobs))
    losses = list[tuple[str, float]]()

    def go_on() -> None:
        training.wait(after_step=reached(training.journal) + 1)
        time.sleep(chooser.random())

    for _ in range(5):
        while len(training.agents) < 4:
            training.add_agent()
        for num_agents in (4, 3):
            go_on()
            losses.append((f"one rank of {num_agents}", time.time()))
            assert training.kill_rank(chooser.choice(training.agents))
            go_on()
            losses.append((f"one machine of {num_agents}", time.time()))
            training.lose_agent(chooser.choice(training.agents))
        go_on()
    whole, journal = start_whole_run(jobs, max_steps=400)
    training.finish()
    whole.finish(timeout=300)
    lines = lines_of(training.journal)
    assert_equal_steps(lines, lines_of(journal))
    for name, moment in losses:
        print(f"lost {name}: {loss_of(moment, lines)}")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Ray
def test_with_ray_five_nodes_are_lost_and_added_and_no_step_changes(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "Ray is not installed; see docs/several-machines.md"
    pytest.importorskip("ray.train", reason=reason)
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason=reason)
    # Ray may count a lost node for 20 seconds more, and by default waits a minute for ranks on this node.
    quick = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "10"}
    for name, value in {**ENVIRONMENT, **quick}.items():
        monkeypatch.setenv(name, value)
    chooser, journal, losses = random.Random(0), jobs.folder / "journal", list[float]()
    # The head has no room for a rank, so that each lost node has one rank, and none has two.
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
        script = (EXAMPLES / "elastic_ray.py", "--address", cluster.address, "--max-ranks=3", "--resize-seconds=5")
        length = options(journal, max_steps=300, save_steps=5)
        training = jobs.launch(*script, "--timeout=60", "--folder", jobs.folder / "checkpoints", *length)
        for _ in range(5):
            wait_for_ranks(training, journal, num_ranks=3, after_step=reached(journal) + 1)
            time.sleep(chooser.random())
            losses.append(time.time())
            cluster.remove_node(nodes.pop(chooser.randrange(3)), allow_graceful=False)
            wait_for_ranks(training, journal, num_ranks=2, after_step=reached(journal) + 1)
            nodes.append(cluster.add_node(num_cpus=1))
        wait_for_ranks(training, journal, num_ranks=3, after_step=reached(journal) + 1)
        whole, whole_journal = start_whole_run(jobs, max_steps=300)
        training.finish(timeout=1200)
        whole.finish(timeout=1200)
    finally:
        cluster.shutdown()
    lines = lines_of(journal)
    assert_equal_steps(lines, lines_of(whole_journal))
    for moment in losses:
        print(f"lost one node of 3: {loss_of(moment, lines)}")


@pytest.mark.slow
def test_with_torchft_a_killed_rank_comes_back_and_all_groups_finish(jobs: Jobs) -> None:
    pytest.importorskip("torchft", reason="torchft is not installed; see docs/several-machines.md")
    training = ReplicaGroups(jobs, max_steps=40, save_steps=5)
    training.start_lighthouse()
    for _ in range(2):
        training.add_agent()
    training.wait(after_step=2)
    assert training.kill_rank(training.agents[0])
    training.finish()
    whole, journal = start_whole_run(jobs, max_steps=40)
    whole.finish()
    assert_equal_steps(lines_of(training.journal), lines_of(journal))


@pytest.mark.slow
def test_with_torchft_twelve_losses_of_ranks_and_machines_change_no_step(jobs: Jobs) -> None:
    """From four replica groups to three, to two, and to four again, three times; then the lighthouse is lost.

    The groups go on while others start, so the number of steps depends on the machine. The run is stopped at its end.
    """
    pytest.importorskip("torchft", reason="torchft is not installed; see docs/several-machines.md")
    chooser, max_steps = random.Random(0), 10_000
    training = ReplicaGroups(jobs, max_steps=max_steps, save_steps=5)
    lighthouse = training.start_lighthouse()
    losses = list[tuple[str, float]]()

    def go_on() -> None:
        training.wait(after_step=reached(training.journal) + 1)
        time.sleep(chooser.random())

    def lose(kind: str, lost: Callable[[Job], object]) -> None:
        go_on()
        kind = f"{kind} of {len(training.agents)}"
        lost(chooser.choice(training.agents))
        losses.append((kind, time.time()))

    for _ in range(3):
        while len(training.agents) < 4:
            training.add_agent()
        for _ in range(2):
            lose("one rank", training.kill_rank)
            lose("one machine", training.lose_agent)
        go_on()
        lighthouse.kill()
        losses.append(("the lighthouse", time.time()))
        lighthouse = training.start_lighthouse()
        go_on()
    for agent in training.agents:
        agent.kill()
    last = reached(training.journal) - 1  # the step after it may be incomplete
    whole, journal = start_whole_run(jobs, max_steps=max_steps)
    whole.wait_until(lambda: reached(journal) > last, every=1, timeout=600)
    lines, expected = ([line for line in lines_of(path) if line.step <= last] for path in (training.journal, journal))
    assert_equal_steps(lines, expected)
    for name, moment in losses:
        print(f"lost {name}: {loss_of(moment, lines)}")
