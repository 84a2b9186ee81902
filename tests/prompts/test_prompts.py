"""Prompts and formats: the golden renderings, the border, the writer of each segment, and the errors."""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samsum_stream.errors import ConfigError
from samsum_stream.prompts import (
    FORMATS,
    PROMPTS,
    ChatMLFormat,
    DefaultPrompt,
    DollyFormat,
    FewShotQA,
    Llama2Format,
    Message,
    Prompt,
    PromptFormat,
    RedpajamaFormat,
    Role,
    StandaloneQuestion,
    TogetherLlama2Format,
    UserAssistantFormat,
    VicunaFormat,
    format_for_model,
)
from samsum_stream.prompts.frame import make_frame
from samsum_stream.prompts.segments import prompt_of, text_of
from samsum_stream.prompts.turns import TurnWriter
from samsum_stream.values.renderings import Segment, runs_of
from samsum_stream.values.rows import is_blank
from tests.prompts.test_segments import require_merged

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "render.json"
CASES: list[dict[str, Any]] = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else []
SUMMARY = {"input_template": "Conversation: {text}", "response_template": "Summary: {text}"}


def texts(segments: Sequence[Segment]) -> tuple[str, str]:
    """The text of the prompt and the text of the completion."""
    prompt = prompt_of(segments)
    completion = segments[len(prompt) :]
    assert all(segment.trained for segment in completion)
    return text_of(prompt), text_of(completion)


def row_texts(segments: Sequence[Segment], *, trained: bool) -> list[str]:
    """The texts of the row that are trained, or that are not."""
    return [segment.text for segment in segments if segment.from_row and segment.trained is trained]


class TestGolden:
    @pytest.mark.skipif(not CASES, reason=f"no golden renderings at {GOLDEN}")
    def test_there_are_115_cases(self) -> None:
        assert len(CASES) == 115

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case["format"])
    def test_renders_every_byte(self, case: dict[str, Any]) -> None:
        prompt = Prompt(**case["prompt"], format=FORMATS[case["format"]](**case["format_kwargs"]))
        messages = [Message(**message) for message in case["messages"]]
        first = messages[0]

        assert prompt.render(messages) == case["render"]
        assert prompt.render_instruction(first.input, first.contexts, with_response_prefix=True) == case["instruction"]
        assert prompt.render([]) == case["system_only"]
        assert prompt.stop_strings == case["stop_strings"]

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case["format"])
    def test_segments_of_a_row_are_its_rendering(self, case: dict[str, Any]) -> None:
        prompt = Prompt(**case["prompt"], format=FORMATS[case["format"]](**case["format_kwargs"]))
        message = Message(**case["messages"][0])
        if message.response is not None:
            assert text_of(prompt.segments(message)) == prompt.render([message])


class TestBorder:
    def test_spaces_before_the_response_belong_to_the_completion(self) -> None:
        prompt = Prompt(system_message="Sum it up.", format=VicunaFormat(), **SUMMARY)

        assert prompt.segments(Message("Hi!", "A greeting.")) == (
            Segment("<s>Sum it up.\nUSER: Conversation: ", from_row=False, trained=False),
            Segment("Hi!", from_row=True, trained=False),
            Segment("\nASSISTANT: Summary:", from_row=False, trained=False),
            Segment(" ", from_row=False, trained=True),
            Segment("A greeting.", from_row=True, trained=True),
            Segment("</s>", from_row=False, trained=True),
        )

    def test_newlines_before_the_response_belong_to_the_prompt(self) -> None:
        assert texts(Prompt(format=ChatMLFormat()).segments(Message("q", "a"))) == (
            "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n",
            "a<|im_end|>",
        )
        assert texts(Prompt().segments(Message("q", "a"))) == ("q\n", "a")

    def test_text_after_the_response_in_its_template_is_trained(self) -> None:
        prompt = Prompt(format=Llama2Format(), response_template="<out>{text}</out>")
        assert texts(prompt.segments(Message("q", "a"))) == ("<s>[INST] q [/INST] <out>", "a</out> </s>")

    def test_spaces_of_a_row_at_the_end_of_the_prompt_move_and_stay_text_of_the_row(self) -> None:
        plain = PromptFormat(input=Role(strip_text=False), role_separator="")
        assert Prompt(format=plain).segments(Message("q  ", "a")) == (
            Segment("q", from_row=True, trained=False),
            Segment("  a", from_row=True, trained=True),
        )

    @pytest.mark.parametrize("name", FORMATS)
    @pytest.mark.parametrize("kwargs", [{}, SUMMARY, {"response_template": "Think:\n{text} end"}])
    def test_without_a_response_the_prompt_is_the_same(self, name: str, kwargs: dict[str, str]) -> None:
        for contexts in ((), ("c1", "c2")):
            prompt = Prompt(system_message="S", format=FORMATS[name](), **kwargs)
            closed = prompt.segments(Message("q ", " a", contexts))
            assert prompt.segments(Message("q ", None, contexts)) == prompt_of(closed)

    @pytest.mark.parametrize("words", ["", "  ", "\n"])
    @pytest.mark.parametrize("name", FORMATS)
    def test_blank_texts_render_like_any_other(self, name: str, words: str) -> None:
        prompt = Prompt(system_message="S", format=FORMATS[name](), **SUMMARY)
        for message in (Message(words, "a"), Message("q", words), Message("q", "a", [words]), Message(words, words)):
            segments = prompt.segments(message)
            assert text_of(segments) == prompt.render([message])
            require_merged(segments)

    def test_a_prompt_has_a_border_if_prompt_or_format_marks_the_response(self) -> None:
        assert not Prompt().has_border
        assert not Prompt(input_template="Text: {text}").has_border
        assert not Prompt(format=PromptFormat(role_separator="\n\n", response=Role(prefix="\n"))).has_border
        assert Prompt(**SUMMARY).has_border
        assert Prompt(input_template="<in>{text}</in>").has_border
        assert all(DefaultPrompt(format=FORMATS[name]()).has_border for name in FORMATS if name != "PromptFormat")


class TestProvenance:
    def test_only_the_texts_of_the_row_are_from_the_row(self) -> None:
        examples = [Message("E?", "E.", ("EC",))]
        prompt = Prompt(
            system_message="S", examples=examples, format=Llama2Format(), context_template="[{index}] {text}"
        )
        segments = prompt.segments(Message("q", "a", ("c", "d")))
        assert row_texts(segments, trained=False) == ["c", "d", "q"]
        assert row_texts(segments, trained=True) == ["a"]

    def test_each_placeholder_takes_the_text(self) -> None:
        prompt = Prompt(input_template="{text}! {text}?", response_template="{text}, {text}", format=VicunaFormat())
        assert texts(prompt.segments(Message("q", "a"))) == ("<s>USER: q! q?\nASSISTANT:", " a, a</s>")
        touching = Prompt(input_template="{text}{text}{text}|{text}", format=PromptFormat(role_separator=""))
        assert texts(touching.segments(Message(" q ", "a", ("c",)))) == ("c q  q  q | q", "a")

    def test_braces_of_a_row_survive(self) -> None:
        prompt = Prompt(context_template="[{index}] {text}", **SUMMARY)
        message = Message("{text} {0} {", "{also}", ("{index}", "}{text}"))
        assert prompt.render([message]) == "[0] {index}\n[1] }{text}\nConversation: {text} {0} {\nSummary: {also}"


class TestFrames:
    def test_there_is_no_frame_if_a_text_of_the_row_touches_the_border(self) -> None:
        prompt = Prompt(format=PromptFormat(input=Role(strip_text=False), role_separator=""))
        assert make_frame(prompt, prompt.segments, num_contexts=0) is None

    def test_few_shot_examples_are_rendered_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        prompt = FewShotQA(format=VicunaFormat())
        prompt.segments(Message("q", "a"))
        monkeypatch.setattr(TurnWriter, "conversation", pytest.fail)
        prompt_text, _ = texts(prompt.segments(Message("other", "words")))
        assert "night ferry" in prompt_text


class TestFormats:
    def test_a_dict_is_a_whole_role(self) -> None:
        assert VicunaFormat(input={"suffix": "!"}).input == Role(suffix="!")  # type: ignore[arg-type]

    def test_arguments_override_defaults_one_by_one(self) -> None:
        assert VicunaFormat(EOS="") == VicunaFormat(EOS="", BOS="<s>", input=Role("USER: "))

    def test_special_strings_are_what_a_tokenizer_should_know(self) -> None:
        assert PromptFormat().special_strings == ()
        assert ChatMLFormat().special_strings == ("<|im_start|>", "<|im_end|>")
        assert VicunaFormat().special_strings == ("<s>", "</s>")
        assert RedpajamaFormat(EOS="<|endoftext|>").special_strings == ("<|endoftext|>",)

    def test_stop_strings_can_keep_their_white_space(self) -> None:
        assert UserAssistantFormat(strip_stop_strings=False).stop_strings == ["User: ", "Assistant: "]

    @pytest.mark.parametrize(
        ("model", "expected"),
        [
            ("meta-llama/Llama-2-7b-hf", PromptFormat),
            ("meta-llama/Llama-2-70b-chat-hf", Llama2Format),
            ("/models/llama-2-13B-Chat/", Llama2Format),
            ("llama2_7b_chat", Llama2Format),
            ("lmsys/vicuna-7b-v1.5", VicunaFormat),
            ("togethercomputer/RedPajama-INCITE-7B-Chat", RedpajamaFormat),
            ("togethercomputer/RedPajama-INCITE-Instruct-3B-v1", RedpajamaFormat),
            ("togethercomputer/RedPajama-INCITE-7B-Base", PromptFormat),
            ("togethercomputer/Llama-2-7B-32K-Instruct", TogetherLlama2Format),
            ("togethercomputer/LLaMA-2-7B-32K", PromptFormat),
            ("mosaicml/mpt-7b-chat", ChatMLFormat),
            ("mosaicml/mpt-30b-instruct", DollyFormat),
            ("mosaicml/mpt-7b-storywriter", PromptFormat),
            ("EleutherAI/gpt-neox-20b", PromptFormat),
            ("/vicuna/llama-2-7b-chat/my-model", PromptFormat),
            ("", PromptFormat),
        ],
    )
    def test_the_name_of_a_model_determines_its_format(self, model: str, expected: type[PromptFormat]) -> None:
        assert format_for_model(model) is expected


class TestPrompts:
    def test_tables_are_sorted_and_use_the_names_of_the_classes(self) -> None:
        for table in (PROMPTS, FORMATS):
            assert list(table) == sorted(table)
            assert all(name == kind.__name__ for name, kind in table.items())

    @pytest.mark.parametrize("name", PROMPTS)
    @pytest.mark.parametrize("dialect", FORMATS)
    def test_prompts_pickle_before_and_after_use(self, name: str, dialect: str) -> None:
        prompt = PROMPTS[name](format=FORMATS[dialect]())
        message = Message("q", "a", ("c",))
        unused = pickle.loads(pickle.dumps(prompt))
        expected = prompt.segments(message)
        used = pickle.loads(pickle.dumps(prompt))
        assert unused == used == prompt
        assert unused.segments(message) == used.segments(message) == expected

    def test_an_argument_overrides_a_default_of_a_task(self) -> None:
        prompt = StandaloneQuestion(system_message="", examples=(), input_template="Q: {text}")
        assert prompt.render([Message("And then?", "What then?", ("User: Hi",))]) == (
            "User: Hi\nQ: And then?\nStandalone question: What then?"
        )

    def test_text_key_renames_the_placeholder_and_keeps_defaults(self) -> None:
        prompt = FewShotQA(examples=(), system_message="", text_key="content", input_template="Q: {content}")
        assert prompt.render([Message("q", "a", ("c",))]) == "Context: c\nQ: q\nAnswer: a"

    def test_an_instruction_may_end_before_the_response(self) -> None:
        prompt = Prompt(system_message="S", format=VicunaFormat())
        assert prompt.render_instruction("q", with_response_prefix=False) == "<s>S\nUSER: q"

    def test_examples_may_be_dicts_with_a_single_context(self) -> None:
        dicts = Prompt(examples=[{"input": "q", "response": "a", "contexts": "c"}])  # type: ignore[list-item]
        assert dicts == Prompt(examples=[Message("q", "a", ("c",))])

    def test_without_a_format_the_plain_one_is_used(self) -> None:
        assert Prompt(format=None) == Prompt()  # type: ignore[arg-type]


class TestErrors:
    @pytest.mark.parametrize(
        ("kwargs", "words"),
        [
            ({"input_template": "Text:"}, ["Prompt.input_template: must say", '"Text:"', "put {text} there"]),
            ({"context_template": "{index}", "text_key": "body"}, ["Prompt.context_template", "put {body} there"]),
            ({"response_template": 3}, ["Prompt.response_template: must be text; got 3"]),
            ({"system_message": None}, ["Prompt.system_message: must be text; got null"]),
            ({"format": "VicunaFormat"}, ["Prompt.format: must be a PromptFormat", '"VicunaFormat"', "an instance"]),
            ({"format": VicunaFormat}, ["Prompt.format: must be a PromptFormat; got VicunaFormat", "VicunaFormat()"]),
            ({"examples": "q"}, ['Prompt.examples: must be a list; got "q"']),
            ({"examples": ["q"]}, ['Prompt.examples[0]: must be a mapping; got "q"']),
            ({"examples": [{"input": "q", "respnse": "a"}]}, ["examples[0].respnse", 'did you mean "response"']),
            ({"examples": [{"input": "q"}]}, ["examples[0]: response is missing; got input"]),
            ({"examples": [Message("q")]}, ["examples[0]", "add a response"]),
            ({"examples": [{"input": 1, "response": "a"}]}, ["examples[0].input: must be text; got 1"]),
            ({"examples": [{"input": "q", "response": "a", "contexts": 1}]}, ["examples[0].contexts: must be a list"]),
            ({"examples": [Message("q", "a", [None])]}, ["examples[0].contexts[0]: must be text; got null"]),
        ],
    )
    def test_errors_of_prompts_have_rule_value_and_remedy(self, kwargs: dict[str, Any], words: list[str]) -> None:
        with pytest.raises(ConfigError) as error:
            Prompt(**kwargs)
        assert all(word in str(error.value) for word in words), error.value

    @pytest.mark.parametrize(
        ("kwargs", "words"),
        [
            ({"input": {"prefx": "> "}}, ["VicunaFormat.input.prefx", 'did you mean "prefix"', "strip_text"]),
            ({"input": "> "}, ['VicunaFormat.input: must be a mapping; got "> "']),
            ({"system": {"suffix": 1}}, ["VicunaFormat.system.suffix: must be text; got 1"]),
            ({"nested_system": "no"}, ['VicunaFormat.nested_system: must be true or false; got "no"']),
            ({"EOS": None}, ["VicunaFormat.EOS: must be text; got null"]),
        ],
    )
    def test_errors_of_formats_have_rule_value_and_remedy(self, kwargs: dict[str, Any], words: list[str]) -> None:
        with pytest.raises(ConfigError) as error:
            VicunaFormat(**kwargs)
        assert all(word in str(error.value) for word in words), error.value


marks = st.text(alphabet="ab <>\n", max_size=4)
words = st.text(alphabet="xyz{} \n\t\0é😀", max_size=6) | st.text(max_size=12)
roles = st.builds(Role, prefix=marks, suffix=marks, strip_text=st.booleans())
any_format = st.builds(
    PromptFormat,
    input=roles,
    response=roles,
    system=roles,
    contexts=roles,
    nested_system=st.booleans(),
    nested_contexts=st.booleans(),
    role_separator=marks,
    content_separator=marks,
    BOS=marks,
    EOS=marks,
) | st.sampled_from([kind() for kind in FORMATS.values()])
template = st.builds(lambda before, after: f"{before}{{text}}{after}", marks, marks)
prompts = st.builds(
    Prompt,
    system_message=marks,
    examples=st.lists(st.builds(Message, marks, marks), max_size=1),
    format=any_format,
    input_template=template,
    context_template=template,
    response_template=template,
)
messages = st.builds(Message, words, words, st.lists(words, max_size=2))


@settings(deadline=None)
@given(prompts, messages)
def test_segments_join_to_the_rendering_and_no_prompt_ends_in_a_space(prompt: Prompt, message: Message) -> None:
    segments = prompt.segments(message)
    assert text_of(segments) == prompt.render([message])
    assert not texts(segments)[0].endswith(" ")
    require_merged(segments)


@settings(deadline=None)
@given(prompts, messages)
def test_segments_from_the_row_have_the_texts_of_the_row(prompt: Prompt, message: Message) -> None:
    segment_text = text_of(segment for segment in prompt.segments(message) if segment.from_row)
    row_text = "".join([*message.contexts, message.input, message.response or ""])
    assert "".join(segment_text.split()) == "".join(row_text.split())


@settings(deadline=None)
@given(prompts, messages)
def test_a_frame_gives_the_runs_of_the_segments(prompt: Prompt, message: Message) -> None:
    frame, words = make_frame(prompt, prompt.segments, num_contexts=len(message.contexts)), prompt.words(message)
    if frame is not None and not any(map(is_blank, words)):
        assert (frame.fill(words), frame.shape) == runs_of(prompt.segments(message))


@settings(deadline=None)
@given(prompts, messages)
def test_the_prompt_does_not_depend_on_the_response(prompt: Prompt, message: Message) -> None:
    if (message.response or "").strip():
        open_message = Message(message.input, None, message.contexts)
        assert prompt.segments(open_message) == prompt_of(prompt.segments(message))
