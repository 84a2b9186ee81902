"""Completions, and the choice of a renderer by the content of the rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.prompts import Prompt, VicunaFormat
from samsum_stream.prompts.completions import CompletionRenderer
from samsum_stream.prompts.rendering import PromptRenderer, RowRenderer
from samsum_stream.prompts.segments import text_of
from samsum_stream.prompts.several_turns import ConversationRenderer
from samsum_stream.values.conversations import Conversation
from samsum_stream.values.renderings import Segment
from samsum_stream.values.rows import Completions, Content, Conversations, Instructions, Rows


def rows_of(content: Content) -> Rows:
    """Rows that have the numbers 10, 11, ... in shard 3."""
    return Rows(content, np.full(len(content), 3, np.int32), np.arange(10, 10 + len(content)))


def completion_of(prompt: str, completion: str) -> Rows:
    return rows_of(Completions([prompt], [completion]))


@pytest.mark.parametrize(
    ("prompt", "completion", "texts"),
    [
        ("The sky is", " blue.", ["The sky is", " blue."]),
        ("The sky is  ", "blue. \n", ["The sky is", "  blue. \n"]),
        ("\n The sky:\n", "\nblue", ["\n The sky:\n", "\nblue"]),
        ("", "Blue", ["", "Blue"]),
        ("  ", "Blue", ["", "  Blue"]),
    ],
)
def test_only_the_spaces_at_the_end_of_a_prompt_move(prompt: str, completion: str, texts: list[str]) -> None:
    renderings = CompletionRenderer().render(completion_of(prompt, completion))
    assert renderings.texts == texts
    assert renderings.continues.tolist() == [False, True]
    assert [run.trained for run in renderings.shapes[0]] == [False, True]


words = st.text(alphabet=" \nab", max_size=4)


@given(rows=st.lists(st.tuples(words, words.map("{}x".format)), max_size=4))
def test_a_completion_follows_its_prompt_directly(rows: list[tuple[str, str]]) -> None:
    renderer = CompletionRenderer()
    content = rows_of(Completions([prompt for prompt, _ in rows], [completion for _, completion in rows]))
    renderings = renderer.render(content)
    assert renderings.rows.tolist() == [*range(len(rows))]
    for index, (prompt, completion) in enumerate(rows):
        asked = text_of(renderer.prompt_segments(content, index))
        assert asked == prompt.rstrip(" ")
        assert renderings.texts[2 * index : 2 * index + 2] == [asked, (prompt + completion).removeprefix(asked)]
        assert renderer.full_text(content, index) == prompt + completion
        assert all(segment.from_row for segment in renderings.segments(index) if segment.text)


def test_the_whole_text_comes_from_the_row() -> None:
    assert tuple(CompletionRenderer().render(completion_of("The sky is ", "blue.")).segments(0)) == (
        Segment("The sky is", from_row=True, trained=False),
        Segment(" blue.", from_row=True, trained=True),
    )


MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (Instructions(["Hi"], ["Yes"]), "USER: Hi\nASSISTANT: Yes</s>"),
        (Completions(["Hi"], ["Yes"]), "HiYes"),
        (Conversations([Conversation(MESSAGES)]), "USER: Hi\nASSISTANT: Yes</s>"),
    ],
)
def test_the_class_of_the_content_chooses_the_renderer(content: Content, text: str) -> None:
    prompt = Prompt(format=VicunaFormat())
    instructions = PromptRenderer(prompt, bos="<s>", eos="</s>")
    conversations = ConversationRenderer(prompt, bos="<s>", eos="</s>")
    renderer = RowRenderer(
        {Instructions: instructions, Completions: CompletionRenderer(), Conversations: conversations}
    )
    rows = rows_of(content)
    assert renderer.full_text(rows, 0) == text
    assert "".join(renderer.render(rows).texts) == text.removesuffix("</s>")
    asked = renderer.prompt_segments(rows, 0)
    assert renderer.rendered_prompt(rows, 0).texts == [text_of(asked)]
    assert text.startswith(text_of(asked))
