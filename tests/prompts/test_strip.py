"""`strip: false` keeps the white space of rows and templates; by default it is stripped, as formats in use demand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samsum_stream import ConfigError, Message, Prompt
from samsum_stream.prompts import FORMATS
from samsum_stream.prompts.frame import make_frame
from samsum_stream.prompts.segments import text_of
from samsum_stream.values.renderings import runs_of
from samsum_stream.values.rows import is_blank

ROWS = [("def f(x):\n    ", "    return x\n"), ("Translate:\t", "\u3000日本\u00a0"), ("\n a\x1c", "\none\n\n")]

formats = st.sampled_from(sorted(FORMATS))
words = st.text(" \t\nab", min_size=1, max_size=6)


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_the_texts_of_a_row_are_kept_in_every_format(name: str, row: tuple[str, str]) -> None:
    input, response = row
    kept = Prompt(format=FORMATS[name](), strip=False, response_template="Summary: {text}")
    segments = kept.segments(Message(input, response))
    assert input in text_of(segment for segment in segments if not segment.trained)
    assert response in text_of(segment for segment in segments if segment.trained)
    stripped = text_of(Prompt(format=FORMATS[name]()).segments(Message(input, response)))
    assert input not in stripped
    assert response not in stripped


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_white_space_of_the_format_stays_as_it_was(name: str) -> None:
    """Rows without white space at their ends are written alike."""
    for message in (Message("a", "b"), Message("a", "b", ("c", "d"))):
        texts = [
            Prompt(format=FORMATS[name](), system_message="S", strip=strip).render([message]) for strip in (True, False)
        ]
        assert texts[0] == texts[1]


def test_white_space_of_a_template_is_kept() -> None:
    prompt = Prompt(input_template="  {text}", response_template="{text}\n", strip=False)
    assert text_of(prompt.segments(Message("a", "b"))) == "  a\nb\n"


@settings(deadline=None)
@given(formats, words, words, st.lists(words, max_size=2))
def test_a_frame_and_the_prompt_agree(name: str, input: str, response: str, contexts: list[str]) -> None:
    prompt = Prompt(format=FORMATS[name](), strip=False, response_template="A:{text}")
    message = Message(input, response, contexts)
    frame, texts = make_frame(prompt, prompt.segments, num_contexts=len(contexts)), prompt.words(message)
    if frame is not None and not any(map(is_blank, texts)):
        assert (frame.fill(texts), frame.shape) == runs_of(prompt.segments(message))
    assert text_of(prompt.segments(message)) == prompt.render([message])
    for text in (input, response, *contexts):
        assert text in prompt.render([message])


def test_strip_is_true_or_false() -> None:
    with pytest.raises(ConfigError, match="Prompt.strip"):
        Prompt(strip="no")  # type: ignore[arg-type]
