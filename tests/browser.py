"""A real headless browser for the tests: what it makes of a page, and what it writes to its console."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
DARK, LIGHT = 0, 1

needs_browser = pytest.mark.skipif(BROWSER is None, reason=f"no headless browser is installed: {', '.join(NAMES)}")

_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--virtual-time-budget=2000",
    "--enable-logging=stderr",
)


def open_page(page: Path, *, scheme: int = LIGHT) -> tuple[str, list[str]]:
    """The document as the browser has it in the end, and the lines of its console."""
    assert BROWSER is not None
    profile, look = page.parent / "profile", f"--blink-settings=preferredColorScheme={scheme}"
    command = [BROWSER, *_OPTIONS, f"--user-data-dir={profile}", "--window-size=1280,900", look, "--dump-dom"]
    result = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    return result.stdout, re.findall(r"CONSOLE.*", result.stderr)
