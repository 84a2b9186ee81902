"""How the turns of a template end."""

from samsum_stream.prompts.chat.stops import find_stops
from samsum_stream.prompts.chat.template import CompiledTemplate

TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}</s>{% endfor %}"


def test_the_order_of_the_tokens_is_the_same_in_every_process() -> None:
    """It is part of the fingerprint, and the order of a set of texts differs from process to process."""
    numbered = [f"<token {letter}>" for letter in "abcdefghijklmnop"]
    template = CompiledTemplate(TEMPLATE, special_tokens={})
    stops = find_stops(template, added_tokens=[*reversed(numbered), "</s>", " "], eos="</s>", stop_tokens=["</s>"])
    assert stops.tokens == (*numbered, "</s>")
