"""Changed bytes end in an error or in correct batches, for some of the mutations of `python -m tests.fuzz`."""

import time

import pytest

from tests import fuzz, oracles
from tests.mutations import CONFIGS, LINES


def test_changed_bytes_end_in_an_error_or_in_correct_batches() -> None:
    counts, violations = fuzz.fuzz(160)
    assert not violations, "\n".join(violations)
    rows = {(kind, outcome) for kind in ("jsonl", "tar", "gzip") for outcome in ("rows", "rows without bad ones")}
    assert {*rows, ("tar", "error"), ("gzip", "error"), ("yaml", "error"), ("yaml", "batches")} <= set(counts)


@pytest.mark.slow
def test_ten_thousand_mutations() -> None:
    assert not fuzz.fuzz(10_000, seed=1).violations


class TestDetection:
    """The fuzz test detects wrong results."""

    @pytest.fixture(autouse=True)
    def in_a_folder(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path_factory.mktemp("rows"))

    def test_wrong_rows(self) -> None:
        content = LINES.encode()
        rows = oracles.jsonl(content).rows
        changed = ("30", *rows[0][1:])
        for wrong in (rows[1:], [*rows, changed], [changed, *rows[1:]], [None, *rows[1:]]):
            with pytest.raises(fuzz.Violation):
                fuzz.check_rows(content, "rows.jsonl", oracles.Reading(wrong))
        with pytest.raises(fuzz.Violation):
            fuzz.check_rows(content, "rows.jsonl", oracles.Reading(rows, is_whole=False))

    def test_a_wrong_config(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(oracles, "config", lambda content: {"batch_size": 3})
        with pytest.raises(fuzz.Violation):
            fuzz.check_yaml(CONFIGS[0].encode())

    def test_hangs_and_other_exceptions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fuzz, "MAX_SECONDS", 0.1)
        monkeypatch.setattr(fuzz, "KINDS", {"a": lambda draw: time.sleep(60), "b": lambda draw: [][0]})
        counts, violations = fuzz.fuzz(2)
        assert counts == {("a", "! Hang"): 1, ("b", "! IndexError"): 1}
        assert len(violations) == 2
