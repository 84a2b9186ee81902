"""Opens pages in a real headless browser, and returns the rendered document and the lines of the console."""

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
    """The document after its scripts have run, and the lines of the console."""
    assert BROWSER is not None
    profile, colours = page.parent / "profile", f"--blink-settings=preferredColorScheme={scheme}"
    command = [BROWSER, *_OPTIONS, f"--user-data-dir={profile}", "--window-size=1280,900", colours, "--dump-dom"]
    result = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    return result.stdout, re.findall(r"CONSOLE.*", result.stderr)
