"""Segments: borders between trained and untrained runs, and where the prompt ends."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from samsum_stream.prompts.segments import Pieces, fixed, from_row, prompt_of, settle_borders, text_of, trained
from samsum_stream.values.renderings import Segment


def require_merged(segments: Sequence[Segment]) -> None:
    """No segment is empty, and no two neighbours are of the same kind."""
    assert all(segment.text for segment in segments)
    assert all(first[1:] != second[1:] for first, second in pairwise(segments))


pieces = st.builds(Segment, st.text(alphabet=" \nab", max_size=3), st.booleans(), st.booleans())


class TestSettledBorders:
    def test_spaces_move_into_each_trained_run_and_out_of_none(self) -> None:
        conversation: Pieces = [
            fixed("User: "),
            from_row("Hi "),
            fixed(" "),
            *trained([from_row("Hello "), fixed("</s> ")]),
            fixed("\nUser: "),
            from_row(" Bye  "),
            *trained([fixed(" Bot"), from_row("")]),
            fixed(" end"),
        ]
        assert settle_borders(conversation) == (
            Segment("User: ", from_row=False, trained=False),
            Segment("Hi", from_row=True, trained=False),
            Segment(" ", from_row=True, trained=True),
            Segment(" ", from_row=False, trained=True),
            Segment("Hello ", from_row=True, trained=True),
            Segment("</s> ", from_row=False, trained=True),
            Segment("\nUser: ", from_row=False, trained=False),
            Segment(" Bye", from_row=True, trained=False),
            Segment("  ", from_row=True, trained=True),
            Segment(" Bot", from_row=False, trained=True),
            Segment(" end", from_row=False, trained=False),
        )

    def test_other_white_space_stays_before_the_border(self) -> None:
        assert settle_borders([fixed("Bot:\n "), *trained([from_row("Hi")])]) == (
            Segment("Bot:\n", from_row=False, trained=False),
            Segment(" ", from_row=False, trained=True),
            Segment("Hi", from_row=True, trained=True),
        )

    @given(st.lists(pieces, max_size=8))
    def test_text_and_writers_stay_and_no_border_has_a_space_before_it(self, unsettled: Pieces) -> None:
        settled = settle_borders(unsettled)
        require_merged(settled)
        assert by_character(settled) == by_character(unsettled)
        for first, second in pairwise(settled):
            assert first.trained or not second.trained or not first.text.endswith(" ")

    @given(st.lists(pieces, max_size=8))
    def test_only_spaces_before_a_trained_run_become_trained(self, unsettled: Pieces) -> None:
        before, after = trained_by_character(unsettled), trained_by_character(settle_borders(unsettled))
        text, has_trained_run = text_of(unsettled), any(piece.trained for piece in unsettled)
        for index, (was_trained, is_trained) in enumerate(zip(before, after, strict=True)):
            assert is_trained == was_trained or (has_trained_run and is_trained and text[index] == " ")

    @given(st.lists(pieces, max_size=8))
    def test_the_prompt_is_all_that_comes_before_the_first_trained_segment(self, unsettled: Pieces) -> None:
        segments = settle_borders(unsettled)
        prompt = prompt_of(segments)
        assert prompt == segments[: len(prompt)]
        assert not any(segment.trained for segment in prompt)
        assert len(prompt) == len(segments) or segments[len(prompt)].trained


def by_character(segments: Sequence[Segment]) -> list[tuple[str, bool]]:
    """Each character, and whether the row wrote it."""
    return [(character, segment.from_row) for segment in segments for character in segment.text]


def trained_by_character(segments: Sequence[Segment]) -> list[bool]:
    return [segment.trained for segment in segments for _ in segment.text]
