"""A store with faults that is also down for a minute: `pytest -m slow -s tests/loader/state/test_outage.py`."""

import time
from typing import NamedTuple

import pytest

from samsum_stream.loader.loader import StreamLoader
from tests.resuming import assert_continues, stream_of, take
from tests.s3 import DOWN, Server

FAULTS = ("503", "reset", DOWN)
SECONDS_OUTAGE, SECONDS_BESIDE = 60.0, 15.0


class Save(NamedTuple):
    """A save: the next batch of its state, how long it took, and whether it succeeded."""

    batch: int
    seconds: float
    is_saved: bool


def train(loader: StreamLoader, url: str, *, seconds: float) -> list[Save]:
    """Save after each batch, for some seconds."""
    saves, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        list(take(loader, 1))
        start = time.monotonic()
        is_saved = loader.save(url) is not None
        saves.append(Save(loader.batch, time.monotonic() - start, is_saved))
    return saves


def newest(url: str) -> int:
    """The batch at which another process would resume."""
    loader = stream_of(epochs=None).loader()
    assert loader.load(url)
    return loader.batch


@pytest.mark.slow
def test_no_state_is_lost_or_torn_with_faults_and_an_outage_of_a_minute(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    loader = stream_of(epochs=None).loader()
    with server.as_default() as bucket:
        url = f"{bucket}/outage"
        with server.broken(0.05, kinds=FAULTS, seed=7) as faults:
            before = train(loader, url, seconds=SECONDS_BESIDE)
        saved_before = [save.batch for save in before if save.is_saved]
        assert newest(url) == saved_before[-1]
        with server.broken(1.0, kinds=(DOWN,)):
            outage = train(loader, url, seconds=SECONDS_OUTAGE)
        assert not any(save.is_saved for save in outage)
        assert newest(url) == saved_before[-1]
        with server.broken(0.05, kinds=FAULTS, seed=8) as later_faults:
            after = train(loader, url, seconds=SECONDS_BESIDE)
        assert after[0].is_saved or after[1].is_saved
        saved = [save.batch for save in after if save.is_saved]
        assert newest(url) == saved[-1]
        for ranks in (1, 2):
            assert_continues(url, ranks=ranks, batch=saved[-1])
    num_faults = (faults.injected + later_faults.injected).total()
    beside = [*before, *after]
    num_saved = sum(save.is_saved for save in beside)
    with capsys.disabled():
        print(f"\n5% faults: {len(beside)} saves, {num_saved} written, {num_faults} requests failed")
        print(f"  a save took {max(save.seconds for save in beside):.2f} s at most")
        print(f"outage of {SECONDS_OUTAGE:.0f} s: {len(outage)} batches trained, 0 saves written, no state lost")
        print(f"  a save took {max(save.seconds for save in outage):.2f} s at most")
