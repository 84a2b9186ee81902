"""Progress is visible on a terminal, and nowhere else."""

import pytest

from samsum_stream.loader.processes.progress import counting, waiting
from tests.models import make_model
from tests.streams import make_rows, make_stream


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make rich treat its output as a terminal."""
    monkeypatch.setenv("FORCE_COLOR", "1")


@pytest.mark.usefixtures("terminal")
def test_a_terminal_shows_a_text_while_waiting_and_a_bar_while_counting(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting("measuring"):
        pass
    with counting("counting rows") as bar:
        bar.advance(bar.add_task("", total=4), 4)
    out, err = capsys.readouterr()
    assert "measuring" in err
    assert "counting rows" in err
    assert not out


@pytest.mark.usefixtures("terminal")
def test_a_terminal_shows_that_a_model_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    model = make_model("llama")
    make_stream(make_rows(30), epochs=None).loader(model=model)
    assert f"measuring which layouts isolate documents in {type(model).__name__}" in capsys.readouterr().err


def test_a_file_or_a_pipe_gets_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting("measuring"), counting("counting rows"):
        pass
    assert capsys.readouterr() == ("", "")
