"""C6: a restored loader yields the batches of an uninterrupted loader, bit for bit."""

from pathlib import Path
from typing import Any

import pytest

from tests.resuming import assert_resumes_exactly, case_params, fast_cases, make_case, steps_of_two_epochs
from tests.streams import workers_that_end_at_once

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


@pytest.mark.parametrize("case", case_params(fast=fast_cases()))
def test_restored_at_every_step_over_two_epochs(case: tuple[Any, ...], tmp_path: Path) -> None:
    num_workers = case[3]
    # Every restored loader starts its workers again, so there are fewer batches with several workers.
    make_loader = make_case(case, tmp_path, batch_size=5 if num_workers > 1 else 3)
    with workers_that_end_at_once():
        assert_resumes_exactly(make_loader, num_steps=steps_of_two_epochs(make_loader()))
