"""Marks, bars and tables are the same with and without colour, in a terminal and as HTML."""

import html
import io
import re
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType
from transformers import PreTrainedTokenizerBase

from samsum_stream.showing import TokenDecoder, as_html, shown_example, shown_packs
from samsum_stream.showing.packs import pack_bar
from samsum_stream.training.model_report import LAYOUTS, LayoutReport, ModelReport
from samsum_stream.values.batches import Pack
from samsum_stream.values.examples import Example
from samsum_stream.values.rows import RowPosition
from tests.real_data import TOKENIZERS, load_tokenizer, needs_real_data
from tests.streams import EOS, make_stream, word_tokenizer

HOSTILE = "  Hi\tyou  👩‍👩‍👧 日本語 Größe €\n\n \x1b[31mred </s> <|im_end|> <script>&amp;\u202e"


def example_of(ids: list[int], *spans: tuple[int, int]) -> Example:
    return Example(
        np.array(ids, np.int32), np.array(spans, np.int32).reshape(-1, 2), RowPosition("chat", "a.jsonl", 7, 0)
    )


def pack_of(*lengths: int) -> Pack:
    return Pack(tuple(example_of([EOS] * length, (1, length)) for length in lengths))


def printed(picture: RenderableType, *, width: int = 80, **kwargs: Any) -> str:
    """The output on a terminal without colour."""
    console = Console(file=io.StringIO(), width=width, color_system=None, **kwargs)
    console.print(picture)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


# ---------------------------------------------------------------------------------------------------- examples


@needs_real_data
@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_token_is_decoded_once_and_no_letter_is_broken(name: str) -> None:
    tokenizer = load_tokenizer(name)
    expected = HOSTILE.replace("</s> ", "")
    ids = tokenizer.backend_tokenizer.encode(expected, add_special_tokens=False).ids
    decoded = list(TokenDecoder(tokenizer).decode([*ids, tokenizer.eos_token_id]))
    assert [number for tokens in decoded for number in tokens.ids] == [*ids, tokenizer.eos_token_id]
    *ordinary, eos = decoded
    assert (eos.text, eos.is_special) == (tokenizer.eos_token, True)
    text = "".join(tokens.text for tokens in ordinary)
    assert text.lstrip() == expected.lstrip()  # some tokenizers add a leading space
    assert max(len(tokens.ids) for tokens in ordinary) <= 5


@needs_real_data
def test_an_incomplete_character_is_shown_as_such() -> None:
    tokenizer = load_tokenizer("gpt2")
    half = tokenizer.encode("🤗")[:2]
    [decoded] = TokenDecoder(tokenizer).decode(half)
    assert (decoded.ids, decoded.text) == (tuple(half), "\ufffd")


def shown_row(tokenizer: PreTrainedTokenizerBase, prompt: str, response: str, **kwargs: Any) -> str:
    """The picture of a row; its first line has the position and the counts."""
    prompt_ids, response_ids = (tokenizer.encode(text, add_special_tokens=False) for text in (prompt, response))
    ids = [tokenizer.bos_token_id, *prompt_ids, *response_ids, tokenizer.eos_token_id]
    example = example_of(ids, (1 + len(prompt_ids), len(ids)))
    return printed(shown_example(example, TokenDecoder(tokenizer), **kwargs.pop("how", {})), **kwargs)


def test_trained_text_is_between_arrows_and_has_a_bar(small_tokenizer: PreTrainedTokenizerBase) -> None:
    header, *lines = shown_row(small_tokenizer, "Say it.\nAnswer:", " Yes,\nindeed.").splitlines()
    assert re.fullmatch(r"chat/a\.jsonl:7 \(epoch 0\): tokens \d+, trained \d+ \(\d+%\)", header)
    assert lines == ["  ⟦<|bos|>⟧Say it.↵", "┃ Answer:>>>·Yes,↵", "┃ indeed.⟦<|eos|>⟧<<<"]


def test_wrapped_lines_keep_their_bar(small_tokenizer: PreTrainedTokenizerBase) -> None:
    shown = shown_row(small_tokenizer, "Say it: ", "one two three " * 8, width=40)
    lines = shown[shown.index("┃") :].splitlines()
    assert len(lines) > 3
    assert all(line.startswith("┃ ") and cell_len(line) <= 40 for line in lines)


def test_white_space_is_visible_and_no_character_controls_the_terminal(
    small_tokenizer: PreTrainedTokenizerBase,
) -> None:
    shown = shown_row(small_tokenizer, HOSTILE, "</s> \x07", width=200)
    assert "⟦<|bos|>⟧··Hi→you··👩⟨U+200D⟩👩⟨U+200D⟩👧 日本語 Größe €↵\n  ↵\n" in shown
    assert "·⟨U+001B⟩[31mred </s> <|im_end|> <script>&amp;⟨U+202E⟩>>></s> ⟨U+0007⟩⟦<|eos|>⟧<<<" in shown
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown) is None


def test_a_special_token_of_a_row_and_one_of_the_format_differ() -> None:
    tokenizer = word_tokenizer()
    assert "⟦</s>⟧<<<" in printed(shown_example(example_of([11, 12, EOS], (1, 3)), TokenDecoder(tokenizer)))


@pytest.mark.parametrize(
    ("spans", "num_trained", "text"),
    [
        ([], 0, "11 12 13 14⟦</s>⟧"),
        ([(0, 1), (2, 3)], 1, "11 12>>> 13<<< 14⟦</s>⟧"),  # the first token has no label
        ([(0, 2), (4, 5)], 2, "11>>> 12<<< 13 14>>>⟦</s>⟧<<<"),
        ([(1, 2), (3, 5)], 3, "11>>> 12<<< 13>>> 14⟦</s>⟧<<<"),
    ],
)
def test_every_trained_span_is_between_arrows(spans: list[tuple[int, int]], num_trained: int, text: str) -> None:
    example, decoder = example_of([11, 12, 13, 14, EOS], *spans), TokenDecoder(word_tokenizer())
    header, line = printed(shown_example(example, decoder)).splitlines()
    assert f": tokens 5, trained {num_trained} (" in header
    assert re.sub("^┃|[ ·]", "", line) == text.replace(" ", "")
    cells = printed(shown_example(example, decoder, ids=True)).splitlines()[1]
    assert re.sub("[ ·]", "", cells) == text.replace(" ", "")


def test_each_token_is_above_its_id(small_tokenizer: PreTrainedTokenizerBase) -> None:
    ids = small_tokenizer.encode("Say it:\n ok", add_special_tokens=False)
    for width in (30, 80):
        shown = shown_row(small_tokenizer, "Say it:", "\n ok", how={"ids": True}, width=width)
        lines = shown[shown.index("⟦") :].splitlines()
        assert all(cell_len(line) <= width for line in lines)
        assert [int(number) for line in lines[1::2] for number in line.split()][1:-1] == ids
    above, below = lines
    assert above.split() == ["⟦<|bos|>⟧", "S", "ay", "·it", ":", ">>>", "↵", "·o", "k", "⟦<|eos|>⟧", "<<<"]
    assert above.index("·it") == below.index(str(ids[2]))


# ------------------------------------------------------------------------------------------------------- packs


def bars(width: int, max_length: int, *packs: Pack) -> list[str]:
    lines = printed(shown_packs(packs, max_length=max_length), width=width).splitlines()
    assert all(cell_len(line) <= width for line in lines)
    return lines[3:]


def test_a_bar_has_the_runs_of_its_examples() -> None:
    examples = example_of([11] * 5, (0, 2), (4, 5)), example_of([11] * 3, (1, 3))
    bar = pack_bar(Pack(examples), capacity=10)
    assert [section.runs for section in bar.sections] == [
        [(False, 0, 1), (True, 1, 2), (False, 2, 4), (True, 4, 5)],
        [(False, 5, 6), (True, 6, 8)],
    ]
    assert [section.num_trained for section in bar.sections] == [2, 2]
    assert (bar.num_tokens, bar.efficiency) == (8, 0.8)


def test_a_pack_is_a_bar_to_scale_with_its_padding() -> None:
    for width in (80, 140):
        [line] = bars(width, 100, pack_of(50, 25, 5))
        bar = re.search(r"[█▒·]+", line)[0]  # type: ignore[index]
        assert len(bar) > width - 50
        assert re.fullmatch("█+▒+█+·+", bar)
        for mark, share in (("▒", 0.25), ("·", 0.2)):
            assert abs(bar.count(mark) / len(bar) - share) < 2 / len(bar)
        assert line.split()[-3:] == ["3", "80", "80.0%"]


def test_the_totals_of_packs_are_above_their_bars() -> None:
    title = printed(shown_packs([pack_of(50, 25, 5), pack_of(100)], max_length=100)).splitlines()[0]
    assert title == "packs 2 of 100 tokens, examples 4, tokens 180, efficiency 90.00%"


# --------------------------------------------------------------------------------------------------- notebooks

REPORT = ModelReport(
    model="<b>Model</b>",
    tolerance=1e-4,
    gradient_tolerance=1e-4,
    layouts=tuple(LayoutReport(layout, 0.1, 0.1, False, 9.0, "<i>no</i>") for layout in LAYOUTS),
    method="packed",
)


def test_the_view_for_a_notebook_escapes_all_text() -> None:
    page = REPORT._repr_html_()
    assert set(re.findall(r"</?(\w+)", page)) <= {"pre", "span"}
    text = html.unescape(re.sub(r"<[^>]+>", "", page))
    for part in ("<b>Model</b>", "packed/position_ids", "<i>no</i>"):
        assert part in text


def test_stats_show_their_numbers_in_a_notebook() -> None:
    stream = make_stream()
    list(stream)
    page = stream.stats._repr_html_()
    for number in (f"{stream.stats.tokens:,}", f"{stream.stats.packs:,}", f"{stream.stats.efficiency:.2%}"):
        assert number in page


def test_the_colours_of_html_are_readable_on_light_and_on_dark_pages() -> None:
    page = as_html(shown_packs([pack_of(5, 4)], max_length=10))
    assert re.match("<pre style=[^>]*color:inherit", page)
    for colour in re.findall(r"(?:^|[ \";])color: #(\w{6})", page):
        red, green, blue = (int(colour[start : start + 2], 16) for start in (0, 2, 4))
        assert 70 < 0.3 * red + 0.59 * green + 0.11 * blue < 190, colour
