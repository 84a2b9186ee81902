"""`samsum-stream report`: one page about a config, in which the texts of rows are never markup."""

import base64
import contextlib
import gzip
import hashlib
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from samsum_stream import SFTStream
from samsum_stream.cli import app
from samsum_stream.inspection.report import make_page
from samsum_stream.inspection.report.first_batches import read_first
from samsum_stream.inspection.report.resolved import fingerprint
from samsum_stream.showing import TokenDecoder
from samsum_stream.showing.runs import TextRun, token_runs
from tests.browser import DARK, LIGHT, needs_browser, open_page
from tests.inspection.configs import ROOT, write_quickstart
from tests.real_data import TOKENIZERS, needs_real_data, sample_stream
from tests.streams import make_stream, write_lines

SECTIONS = ["findings", "rows", "lengths", "packs", "efficiency", "drops", "config"]

SCRIPT = "<script>alert(1)</script>"
NASTY = [
    {"input": f"{SCRIPT} </pre><img src=http://x.invalid/y.png onerror=alert(2)>", "response": f"\" '>{SCRIPT}"},
    {"input": "a\u202eb\u0000c\td", "response": "fine  &amp;"},
]
LONG = "every word of it " * 200
BAD = [{"input": f"row {number}", "response": ""} for number in range(4)]


class Page(HTMLParser):
    """The tags and the texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "rect", "path", "use"):
            self._open.append(dict(attrs).get("class") or tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "path", "use"):
            self._open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def texts_in(self, kind: str) -> list[str]:
        """The texts of elements of a class, or of a tag without one."""
        return [text for parent, text in self.texts if parent == kind]


def report(config: Path, folder: Path) -> str:
    """The page that the command writes."""
    output = folder / "report.html"
    with contextlib.chdir(ROOT):
        result = CliRunner().invoke(app, ["report", str(config), "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert f"{output} is written" in result.output
    return output.read_text(encoding="utf-8")


def write_config(folder: Path, rows: Path, **changes: Any) -> Path:
    source = {"method": "jsonl", "kwargs": {"path": str(rows)}}
    return write_quickstart(folder, **{"source_config": source, **changes})


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> str:
    return report(ROOT / "configs" / "quickstart.yaml", tmp_path_factory.mktemp("quickstart"))


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> str:
    return report(ROOT / "configs" / "mixture.yaml", tmp_path_factory.mktemp("mixture"))


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Rows, names and values that would be markup, scripts and references if they were not escaped."""
    folder = tmp_path_factory.mktemp("nasty")
    rows = write_lines(folder / f"{SCRIPT.replace('/', '')}\"'.jsonl", NASTY * 6)
    prompt = {"method": "Prompt", "kwargs": {"system_message": f"{SCRIPT} $x_y$"}}
    return report(write_config(folder, rows, prompt_config=prompt), folder)


@pytest.fixture(params=["quickstart", "mixture", "nasty"])
def any_page(request: pytest.FixtureRequest) -> str:
    page: str = request.getfixturevalue(request.param)
    return page


def test_the_page_has_all_sections(quickstart: str) -> None:
    page = Page(quickstart)
    assert [section["id"] for section in page.of("section")] == SECTIONS
    assert [(link["href"] or "")[1:] for link in page.of("a")] == SECTIONS
    stream = SFTStream.from_config(yaml.safe_load((ROOT / "configs" / "quickstart.yaml").read_text()))
    words = " ".join(text for _, text in page.texts)
    for expected in (
        "331 become examples",
        "Nothing to advise",
        "20 rows and their masks",
        "The first 16 packs",
        "How full best_fit packs",
        "No row is dropped, shortened or skipped",
        "special_tokens_in_rows: text",
        *fingerprint(stream).values(),
    ):
        assert expected in words
    assert len([details for details in page.of("details") if details.get("class") == "example"]) == 20
    assert len(page.of("figure")) == 4
    labels = [svg["aria-label"] for svg in page.of("svg") if svg.get("role") == "img"]
    assert labels[:3] == [f"Histogram of the tokens of each {name}" for name in ("row", "prompt", "response")]
    assert len([label for label in labels if label and label.startswith("Pack ")]) == 16


def test_what_is_shown_as_trained_is_the_response(quickstart: str) -> None:
    """The positions of the examples give the rows of the file; the prompts are masked."""
    rows = [json.loads(line) for line in (ROOT / "examples" / "data" / "dialogues.jsonl").read_text().splitlines()]
    page = Page(quickstart)
    numbers = [int(re.findall(r":(\d+) ", text)[0]) for text in page.texts_in("bdi")][:20]
    assert len(set(numbers)) == 20
    assert [text.strip(" ·") for text in page.texts_in("trained")[1:]] == [
        rows[number]["summary"] for number in numbers
    ]
    assert page.texts_in("trained special") == ["<|eos|>"] * 20
    for number, text in zip(numbers, page.texts_in("masked")[1:], strict=True):
        assert rows[number]["dialogue"].splitlines()[-1] in text


def test_packs_are_drawn_to_scale(quickstart: str) -> None:
    page = Page(quickstart)
    widths: dict[str, list[int]] = {"prompt": [], "response": [], "room": []}
    for rect in page.of("rect"):
        if rect.get("class"):
            widths[str(rect["class"])].append(int(rect["width"] or 0))
    assert widths["room"] == [512] * 16
    stream = SFTStream.from_config(yaml.safe_load((ROOT / "configs" / "quickstart.yaml").read_text()))
    packs = [pack for _, pack in zip(range(16), stream, strict=False)]
    examples = [example for pack in packs for example in pack.examples]
    assert widths["prompt"] == [example.spans[0, 0] for example in examples]
    assert widths["response"] == [len(example.input_ids) - example.spans[0, 0] for example in examples]


def test_a_padded_row_is_as_long_as_the_longest_of_its_batch() -> None:
    stream = make_stream(collator_config={"method": "padded"}, batch_size=4, lanes=1)
    bars = read_first(stream, num_lanes=1).bars
    longest = [max(bar.num_tokens for bar in bars[start : start + 4]) for start in range(0, 16, 4)]
    assert [bar.capacity for bar in bars] == [length for length in longest for _ in range(4)]


def test_the_page_needs_nothing_and_runs_nothing(any_page: str) -> None:
    page = Page(any_page)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "src", "xmlns")]
        assert (attributes.get("href") or attributes.get("xlink:href") or "#").startswith("#")
        assert all("url(" not in (value or "") or (value or "").startswith("url(#") for value in attributes.values())
    style = re.findall(r"<style>(.*?)</style>", any_page, re.DOTALL)
    assert len(style) == 1
    assert "url(" not in style[0]
    assert "@import" not in style[0]
    [policy] = [str(meta["content"]) for meta in page.of("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")


def test_rows_names_and_values_are_text(nasty: str) -> None:
    page = Page(nasty)
    words = "".join(text for _, text in page.texts)
    assert f"{SCRIPT} </pre><img src=http://x.invalid/y.png onerror=alert(2)>" in words
    assert f"\" '>{SCRIPT}" in words
    assert "a⟨U+202E⟩b⟨U+0000⟩c→d" in words
    assert "fine··&amp;" in words
    assert f"{SCRIPT} $x_y$" in words
    assert "\0" not in nasty
    assert "\u202e" not in nasty


def test_a_mixture_shows_its_shares(mixture: str) -> None:
    page = Page(mixture)
    assert [section["id"] for section in page.of("section")] == [*SECTIONS[:5], "shares", *SECTIONS[5:]]
    cells = re.findall(r"</svg> (\w+)</th><td>([\d.]+)%</td><td>([\d.]+)%</td><td>([\d,]+)</td>", mixture)
    assert [(name, expected, rows) for name, expected, _, rows in cells] == [
        ("dialogues", "70.0", "331"),
        ("questions", "30.0", "12"),
    ]
    assert [float(read) for *_, read, _ in cells] == pytest.approx([70, 30], abs=2)
    sources = [text.partition("/")[0] for text in page.texts_in("bdi")][:20]
    assert sources == ["dialogues", "questions"] * 10


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
@pytest.mark.parametrize("truncation", ["drop", "right"])
def test_drops_cuts_and_bad_rows_are_shown_with_the_first_ones(tmp_path: Path, suffix: str, truncation: str) -> None:
    fine = [{"input": f"number {number}", "response": "fine"} for number in range(20)]
    long = [{"input": f"long {number}", "response": LONG} for number in range(5)]
    rows = tmp_path / f"rows.{suffix}"
    text = "".join(json.dumps(row) + "\n" for row in [*fine, *BAD, *long])
    rows.write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    faults = {"on_bad_row": "skip", "max_bad_rows": 10}
    changes = {"fault_config": faults, "truncation_config": {"method": truncation}, "lanes": 1}
    page = Page(make_page_of(write_config(tmp_path, rows, **changes)))
    words = " ".join(" ".join(text for _, text in page.texts).split())
    name = rf"{tmp_path.name}/rows.{suffix}"
    reason = "longer_than_max_length dropped" if truncation == "drop" else "right shortened"
    assert f"{reason}: 5 rows, 17.2%" in words
    assert "empty_response skipped as bad: 4 rows, 13.8%" in words
    assert f"{name}:20 (epoch 0) line 21: field 'response' must be a str that is not blank" in words
    positions = [text.removesuffix(" (epoch 0)") for text in page.texts_in("bdi")][20:]
    assert positions == [f"{name}:{number}" for number in (24, 25, 26, 20, 21, 22)]
    kept = ", 512 of them kept" if truncation == "right" else ""
    assert re.findall(r"83\d tokens(, 512 of them kept)? Please", words) == [kept] * 3
    assert page.texts_in("left-out") == ["2,953 characters"] * 3


def test_no_secret_is_in_the_page(tmp_path: Path) -> None:
    rows = write_lines(tmp_path / "rows.jsonl", [{"input": "a", "response": "b"}] * 9)
    hidden = {"path": f"file://{rows}", "storage_options": {"auto_mkdir": False, "x": "geheim"}}
    page = make_page_of(write_config(tmp_path, rows, source_config={"method": "jsonl", "kwargs": hidden}))
    assert "geheim" not in page
    assert "storage_options: &#39;***&#39;" in page


def make_page_of(config: Path) -> str:
    with contextlib.chdir(ROOT):
        return make_page(config)


@needs_real_data
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "llama-2" else pytest.mark.slow) for name in TOKENIZERS]
)
def test_runs_spell_the_encoded_text_with_every_decoder(name: str) -> None:
    stream = sample_stream(name)
    decoder = TokenDecoder(stream.tokenizer)
    for pack in stream:
        [example] = pack.examples
        masked, trained = (run.texts for run in token_runs(example, decoder))
        assert trained[-1] == TextRun(stream.tokenizer.eos_token, True)
        assert trained[0].text.startswith(" ")
        assert not [run.text for run in (*masked, *trained) if "\ufffd" in run.text]


def test_without_the_plotting_library_the_error_names_the_command_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("samsum_stream.inspection.report")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = CliRunner().invoke(app, ["report", "x.yaml", "-o", str(tmp_path / "report.html")])
    assert result.exit_code == 1
    assert "matplotlib is not installed; pip install 'samsum-stream[plot]'" in result.output


def test_a_missing_folder_is_an_error_before_the_rows_are_read(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", "x.yaml", "-o", str(tmp_path / "no" / "report.html")])
    assert result.exit_code == 1
    assert "--output: there is no folder" in result.output


def test_a_page_that_cannot_be_written_is_an_error_of_one_line() -> None:
    result = CliRunner().invoke(app, ["report", str(ROOT / "configs" / "quickstart.yaml"), "-o", "/dev/full"])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "ConfigError: --output: /dev/full cannot be written" in result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the browser profile, which is created only once."""
    return tmp_path_factory.mktemp("browser")


@needs_browser
def test_a_browser_reports_no_problem(any_page: str, folder: Path) -> None:
    path = folder / "page.html"
    path.write_text(any_page, encoding="utf-8")
    document, console = open_page(path)
    assert console == []
    assert document.count("<section") == any_page.count("<section")


@needs_browser
def test_a_script_in_the_page_would_not_run(quickstart: str, folder: Path) -> None:
    path = folder / "script.html"
    path.write_text(quickstart.replace("</main>", "<script>document.body.remove()</script></main>"), encoding="utf-8")
    document, console = open_page(path)
    assert "Content Security Policy" in console[0]
    assert "<main>" in document


MEASURE = """<script>
const of = (selector, name) => getComputedStyle(document.querySelector(selector))[name];
console.log(JSON.stringify({
  width: innerWidth, needed: document.documentElement.scrollWidth,
  page: of("body", "backgroundColor"), ink: of("body", "color"), bar: of("figure path[fill^=var]", "fill"),
}));
</script>"""
PHONE = '<meta name="color-scheme" content="light dark"><iframe src="measured.html" width="390" height="800"></iframe>'


@needs_browser
@pytest.mark.parametrize(("scheme", "page", "ink"), [(LIGHT, 251, 29), (DARK, 20, 231)])
def test_the_page_fits_a_phone_in_light_and_in_dark(
    mixture: str, folder: Path, scheme: int, page: int, ink: int
) -> None:
    """A frame as wide as a phone, because the window of a browser has a greater minimum width."""
    without_policy = re.sub(r"<meta http-equiv.*?>", "", mixture)
    (folder / "measured.html").write_text(without_policy.replace("</body>", f"{MEASURE}</body>"), encoding="utf-8")
    (folder / "phone.html").write_text(PHONE)
    _, [line] = open_page(folder / "phone.html", scheme=scheme)
    measured = json.loads(re.findall(r"{.*}", line)[0])
    assert measured["width"] == measured["needed"] == 390
    assert measured["page"].startswith(f"rgb({page},")
    assert measured["ink"].startswith(f"rgb({ink},")
    assert measured["bar"] not in ("none", "rgb(0, 0, 0)", measured["page"])
