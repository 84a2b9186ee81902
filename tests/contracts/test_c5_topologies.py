"""C5: the global order is the same for every topology; C6: a state of one topology resumes on another.

`python -m tests.chains` checks thousands of chains.
"""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.chains import (
    MAX_BATCHES,
    NUM_IN_MEMORY,
    OF_FILES,
    TOPOLOGIES,
    Phase,
    Reference,
    check_chain,
    make_references,
)
from tests.streams import workers_that_end_at_once

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

NUM_REFERENCES = NUM_IN_MEMORY + len(OF_FILES)


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> list[Reference]:
    references = make_references(tmp_path_factory.mktemp("mixture"))
    assert len(references) == NUM_REFERENCES
    return references


chains = st.lists(
    st.builds(
        lambda topology, batches: Phase(*topology, batches),
        st.sampled_from(TOPOLOGIES),
        st.integers(1, MAX_BATCHES),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("index", range(NUM_IN_MEMORY))
@settings(max_examples=15)
@given(chain=chains)
def test_any_chain_of_topologies_gives_the_sequence_of_one_process(
    references: list[Reference], index: int, chain: list[Phase]
) -> None:
    check_chain(references[index], chain)


@pytest.mark.parametrize("index", range(NUM_IN_MEMORY, NUM_REFERENCES))
@settings(max_examples=2)
@example(chain=[Phase(1, 0, 1), Phase(2, 6, 1), Phase(24, 0, 4)])  # reads an epoch of a child in two passes
@given(chain=chains)
def test_any_chain_over_files_gives_the_sequence_of_one_process(
    references: list[Reference], index: int, chain: list[Phase]
) -> None:
    check_chain(references[index], chain)


@pytest.mark.parametrize("index", range(NUM_IN_MEMORY))
@pytest.mark.parametrize(
    "chain",
    [
        [Phase(1, 3, 5), Phase(2, 2, 7), Phase(3, 1, 2), Phase(1, 0, 4)],
        [Phase(2, 3, 30), Phase(1, 2, 41), Phase(4, 0, 3)],
    ],
)
def test_real_worker_processes_give_the_sequence_of_one_process(
    references: list[Reference], index: int, chain: list[Phase]
) -> None:
    with workers_that_end_at_once():
        check_chain(references[index], chain, method="fork")


@pytest.mark.parametrize("index", range(NUM_IN_MEMORY))
@pytest.mark.parametrize("method", ["forkserver", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_with_a_copy_of_the_stream_give_the_sequence_of_one_process(
    references: list[Reference], index: int, method: str
) -> None:
    """The copies are made before and after this process has encoded rows."""
    with workers_that_end_at_once():
        check_chain(references[index], [Phase(1, 3, 5), Phase(2, 2, 7)], method=method)
