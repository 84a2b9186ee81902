"""Contract C5: one global order, whoever reads it; and C6: a state of one topology goes on on another."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.chains import MAX_BATCHES, NUM_IN_MEMORY, OF_FILES, TOPOLOGIES, Reference, Segment, check_chain, references
from tests.streams import workers_that_end_at_once

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

NUM_REFERENCES = NUM_IN_MEMORY + len(OF_FILES)


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> list[Reference]:
    found = references(tmp_path_factory.mktemp("mixture"))
    assert len(found) == NUM_REFERENCES
    return found


chains = st.lists(
    st.builds(
        lambda topology, batches: Segment(*topology, batches),
        st.sampled_from(TOPOLOGIES),
        st.integers(1, MAX_BATCHES),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("index", range(NUM_IN_MEMORY))
@settings(max_examples=40)
@given(chain=chains)
def test_any_chain_of_topologies_gives_the_sequence_of_one_process(
    sides: list[Reference], index: int, chain: list[Segment]
) -> None:
    check_chain(sides[index], chain)


@pytest.mark.parametrize("index", range(NUM_IN_MEMORY, NUM_REFERENCES))
@settings(max_examples=2)
@example(chain=[Segment(1, 0, 1), Segment(2, 6, 1), Segment(24, 0, 4)])  # meets an epoch of a child in two passes
@given(chain=chains)
def test_and_so_does_one_of_files(sides: list[Reference], index: int, chain: list[Segment]) -> None:
    check_chain(sides[index], chain)


@pytest.mark.parametrize("index", range(NUM_IN_MEMORY))
@pytest.mark.parametrize(
    "chain",
    [
        [Segment(1, 3, 5), Segment(2, 2, 7), Segment(3, 1, 2), Segment(1, 0, 4)],
        [Segment(2, 3, 30), Segment(1, 2, 41), Segment(4, 0, 3)],
    ],
)
def test_and_so_do_real_worker_processes(sides: list[Reference], index: int, chain: list[Segment]) -> None:
    with workers_that_end_at_once():
        check_chain(sides[index], chain, real_workers=True)
