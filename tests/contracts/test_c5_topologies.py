"""Contract C5: one global order, whoever reads it; and C6: a state of one topology goes on on another."""

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chains import MAX_BATCHES, TOPOLOGIES, Segment, check_chain, references
from tests.streams import workers_that_end_at_once

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

REFERENCES = functools.cache(references)

chains = st.lists(
    st.builds(
        lambda topology, batches: Segment(*topology, batches),
        st.sampled_from(TOPOLOGIES),
        st.integers(1, MAX_BATCHES),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("index", range(5))
@settings(max_examples=40)
@given(chain=chains)
def test_any_chain_of_topologies_gives_the_sequence_of_one_process(index: int, chain: list[Segment]) -> None:
    check_chain(REFERENCES()[index], chain)


@pytest.mark.parametrize("index", range(5))
@pytest.mark.parametrize(
    "chain",
    [
        [Segment(1, 3, 5), Segment(2, 2, 7), Segment(3, 1, 2), Segment(1, 0, 4)],
        [Segment(2, 3, 30), Segment(1, 2, 41), Segment(4, 0, 3)],
    ],
)
def test_and_so_do_real_worker_processes(index: int, chain: list[Segment]) -> None:
    with workers_that_end_at_once():
        check_chain(REFERENCES()[index], chain, real_workers=True)
