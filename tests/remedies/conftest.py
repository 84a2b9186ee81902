"""Every remedy is followed in a folder of its own."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of a config are in a new working directory."""
    monkeypatch.chdir(tmp_path)
