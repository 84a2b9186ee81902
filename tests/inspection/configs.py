"""The quickstart as a file of a test."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]


def write_quickstart(folder: Path, **changes: Any) -> Path:
    """The quickstart with absolute paths and with other keys."""
    quickstart: dict[str, Any] = yaml.safe_load((ROOT / "configs" / "quickstart.yaml").read_text())
    quickstart["source_config"]["kwargs"]["path"] = str(ROOT / quickstart["source_config"]["kwargs"]["path"])
    quickstart["base_model"] = str(ROOT / quickstart["base_model"])
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**quickstart, **changes}))
    return path
