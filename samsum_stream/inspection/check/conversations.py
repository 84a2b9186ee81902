"""The advice of `check` on conversations and chat templates."""

from collections.abc import Callable, Iterator

from samsum_stream.errors.wording import counted, quoted
from samsum_stream.inspection.check.facts import Facts
from samsum_stream.inspection.check.findings import Finding
from samsum_stream.inspection.check.formats import other_format, texts_of
from samsum_stream.inspection.check.noticed import BOS_AT_START, BOS_INSIDE, CALLS_WITHOUT_TOOLS, DECIDES, LOST
from samsum_stream.inspection.check.sampling import Sample
from samsum_stream.prompts.chat.chat_template import SPLIT
from samsum_stream.prompts.chat.forms import switch_name
from samsum_stream.tokenization.loading import generation_stop_ids
from samsum_stream.values.counts import UNTRAINED_TURNS, by_reason, untrained_turns
from samsum_stream.values.rows import Instructions

MUCH_LONGER = 1.5
"""From this growth of the tokens on, rewritten history is a warning and not a note."""

MANY = 0.01
"""The smallest share of rows for which an oddity is a warning and not a note."""

_KWARGS = "prompt_format_config.kwargs"


def other_formats(facts: Facts) -> Iterator[Finding]:
    """A chat model that is trained in another format than the one in which it is served."""
    for task, kind in ((each, kind) for each in facts.tasks for kind in each.kinds):
        if other := other_format(facts, task, kind):
            own = f", and the template writes {quoted(other.own)}" if other.own else ""
            yield Finding(
                "other_format",
                "warning",
                f"{task.title}the tokenizer has a chat template, with which its model is served, but the rows are "
                f"written in another format ({other.name}): it writes {quoted(other.written)}{own}",
                "write prompt_format_config: {method: ChatTemplate}, or serve the model without its chat template, "
                "with the prompts of stream.inference_prompt",
            )


def other_template(facts: Facts) -> Iterator[Finding]:
    """A chat template of the config, for a tokenizer that has another one."""
    own = texts_of(facts).templates.get("default")
    for task in facts.tasks:
        if task.loaded is None or task.loaded.settings.template is None or own in (None, task.loaded.template.source):
            continue
        yield Finding(
            "other_template",
            "note",
            f"{task.title}the rows are written with the chat template of the config, and the tokenizer has another "
            "one, with which its model is served",
            "save the template with the trained model, so that serving uses it: tokenizer.chat_template = ...; "
            "tokenizer.save_pretrained(...)",
        )


def missing_stop(facts: Facts) -> Iterator[Finding]:
    """Generation stops at the ids of the generation config, and at the eos."""
    tokenizer = facts.stream.tokenizer
    base_model, section = facts.config.base_model or str(tokenizer.name_or_path), facts.config.tokenizer_config
    known = generation_stop_ids(base_model, **section.loading_kwargs)
    ends = {number for sample in facts.samples for number in sample.noticed.stop_ids}
    for number in sorted(ends - {*known, tokenizer.eos_token_id}):
        stops = f"generation_config.eos_token_id is {known}" if known else "the model has no known generation_config"
        yield Finding(
            "missing_stop",
            "warning",
            f"trained turns end with {tokenizer.convert_ids_to_tokens(number)} (id {number}), at which generation "
            f"would not stop: {stops}, and the eos is {tokenizer.eos_token} (id {tokenizer.eos_token_id})",
            "save the trained model with model.generation_config.eos_token_id = "
            f"{sorted({*known, number, int(tokenizer.eos_token_id)})}, or pass this as stop token when serving",
        )


def rewritten_history(facts: Facts) -> Iterator[Finding]:
    for sample in facts.samples:
        loaded = facts.task_of(sample).formats.chat
        if loaded is None or loaded.settings.on_rewritten_history != SPLIT:
            continue
        if number := sample.measured.num_rows_with(sample.measured.has_outcome("splits.history")):
            switch = switch_name(loaded.template)
            kept = f"write {_KWARGS}.template_kwargs: {{{switch}}} if serving does the same, or " if switch else ""
            yield Finding(
                "rewritten_history",
                "warning" if sample.growth >= MUCH_LONGER else "note",
                f"{sample.title}: the chat template rewrites earlier turns in {sample.share(number)}, such as "
                f"{sample.place_of_first_with('splits.history')}, {_cost(sample)}",
                f"{kept}write {_KWARGS}.on_rewritten_history: last_round to train only the turns after the last user "
                "message, or leave it as it is, which is exact",
            )


def crossed_borders(facts: Facts) -> Iterator[Finding]:
    """Borders of turns that a token would cross, so that the next turn needs an example of its own."""
    for sample in facts.samples:
        if number := sample.measured.num_rows_with(sample.measured.has_outcome("splits.border")):
            yield Finding(
                "crossed_borders",
                "warning" if sample.growth >= MUCH_LONGER else "note",
                f"{sample.title}: the tokenizer would join the start or the end of a turn with the text beside it in "
                f"{sample.share(number)}, such as {sample.place_of_first_with('splits.border')}, {_cost(sample)}",
                "use a template that writes a newline or a control token at both borders of a turn, or leave it as it "
                "is, which is exact",
            )


def _cost(sample: Sample) -> str:
    return (
        f"so their turns need several examples: {sample.examples_per_row:.1f} examples and "
        f"{sample.tokens_per_row:,.0f} tokens per row, {sample.growth:.1f} times the tokens of the conversations"
    )


def thinking_switch(facts: Facts) -> Iterator[Finding]:
    """The turns that continue their prompt only with another value of `enable_thinking`."""
    turns = by_reason(facts.measured.counts, "turns")
    numbers = {"true": turns["thinking_on"], "false": turns["thinking_off"]}
    needed = [value for value, number in numbers.items() if number]
    if not needed:
        return
    counts = " and ".join(f"{counted(numbers[value], 'turn')} with enable_thinking: {value}" for value in needed)
    one = f"serve with enable_thinking: {needed[0]}, and write {_KWARGS}.thinking: {needed[0]} if all turns need it"
    both = "serve with enable_thinking: true where the model has to reason, and with false elsewhere"
    yield Finding(
        "thinking_switch",
        "warning",
        f"the chat template writes {counts} only, so the model gets these prompts only if serving sets the same",
        one if len(needed) == 1 else both,
    )


def two_bos(facts: Facts) -> Iterator[Finding]:
    bos = facts.stream.tokenizer.bos_token
    for sample in facts.samples:
        for name, where in ((BOS_AT_START, "two at the start"), (BOS_INSIDE, "one at the start and others inside")):
            if rows := sample.noticed.rows.get(name):
                yield Finding(
                    "two_bos",
                    "warning" if name == BOS_AT_START else "note",
                    f"{sample.title}: the chat template writes {bos} several times ({where}), such as in "
                    f"{sample.positions[rows[0]].place}; the stream adds none to what a chat template writes",
                    "remove one from the template, or from the text of the rows"
                    if name == BOS_AT_START
                    else "keep it if the model was trained so, as Llama-2 was",
                )


def turns_that_are_not_trained(facts: Facts) -> Iterator[Finding]:
    for sample in facts.samples:
        if reasons := untrained_turns(sample.measured.counts):
            numbers = ", ".join(f"{number:,} {reason}" for reason, number in reasons.items())
            yield Finding(
                "untrained_turns",
                "warning" if reasons.total() >= MANY * sample.num_rows else "note",
                f"{sample.title}: {counted(reasons.total(), 'turn')} of {sample.num_rows:,} rows cannot be trained as "
                f"inference would see them ({numbers}), such as in {sample.place_of_first_with(*UNTRAINED_TURNS)}",
                f"set {_KWARGS}.template_kwargs or thinking to what these rows need, or use another template; "
                "with on_unrenderable_turn: error the messages say more",
            )


def messages_after_the_last_turn(facts: Facts) -> Iterator[Finding]:
    for sample in facts.samples:
        if number := sample.measured.counts["turns.after_last_turn"]:
            yield Finding(
                "after_last_turn",
                "note",
                f"{sample.title}: {sample.share(number)} have messages after their last trained turn, which are left "
                "out",
                "look for missing answers if the rows should end with a turn of the assistant",
            )


def calls_without_tools(facts: Facts) -> Iterator[Finding]:
    """Turns that call tools of which the prompt says nothing."""
    for sample in facts.samples:
        if rows := sample.noticed.rows.get(CALLS_WITHOUT_TOOLS):
            yield Finding(
                "calls_without_tools",
                "warning" if len(rows) >= MANY * sample.num_rows else "note",
                f"{sample.title}: {sample.share(len(rows))}, such as {sample.positions[rows[0]].place}, call tools and "
                "have no tools, so the prompt does not say which tools there are",
                "add the schemas to the rows as the column tools, or map another column to it with columns: "
                "{tools: ...}; leave the rows as they are if their system message describes the tools",
            )


def texts_that_decide(facts: Facts) -> Iterator[Finding]:
    """Texts that no encoding can make harmless: the template looks for them in the messages."""
    for sample in facts.samples:
        if found := sample.noticed.starting(DECIDES):
            rows = sorted({row for of_text in found.values() for row in of_text})
            yield Finding(
                "texts_that_decide",
                "warning" if len(rows) >= MANY * sample.num_rows else "note",
                f"{sample.title}: {sample.share(len(rows))}, such as {sample.positions[rows[0]].place}, have "
                f"{', '.join(map(quoted, sorted(found)))} in a message that is not of the assistant, and the chat "
                "template looks for it and writes another text",
                "remove it from the rows if it is not meant for the template",
            )


def lost_content(facts: Facts) -> Iterator[Finding]:
    """What the template drops without an error: of the rows, and the system message of the prompt."""
    for task in facts.tasks:
        has_system = bool(task.built.config.prompt_config.kwargs.get("system_message"))
        if not has_system or task.loaded is None or "system" not in task.loaded.forms.lost:
            continue
        if Instructions not in task.kinds:
            continue
        yield Finding(
            "lost_content",
            "warning",
            f"{task.title}the chat template does not write the system_message of prompt_config",
            f"use a template that writes it, under {_KWARGS}.template, or write its text in the input_template",
        )
    for sample in facts.samples:
        for part, rows in sample.noticed.starting(LOST).items():
            yield Finding(
                "lost_content",
                "warning",
                f"{sample.title}: the chat template does not write {_PARTS[part]}, which {sample.share(len(rows))} "
                f"have, such as {sample.positions[rows[0]].place}",
                _REMEDIES.get(part, f"use a template that writes it, under {_KWARGS}.template"),
            )


_PARTS = {
    "reasoning": "the reasoning",
    "tool_calls": "the tool calls",
    "parallel_calls": "the second of two tool calls",
    "system": "the system message",
    "tool_results": "the results of tools",
}
_REMEDIES = {
    "reasoning": "use a template that writes it, or write conversation_config.reasoning: drop",
    "system": f"use a template that writes it, under {_KWARGS}.template, or write conversation_config.system: drop",
}

ON_CONVERSATIONS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    other_formats,
    other_template,
    missing_stop,
    rewritten_history,
    crossed_borders,
    thinking_switch,
    two_bos,
    turns_that_are_not_trained,
    messages_after_the_last_turn,
    calls_without_tools,
    texts_that_decide,
    lost_content,
)
