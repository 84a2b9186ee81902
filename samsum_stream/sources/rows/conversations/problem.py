"""What is wrong with a conversation, before the row has its position."""


class Problem(Exception):
    """A conversation breaks a rule; the text gives the rule, the value, and after the last "; " the remedy.

    Attributes:
        text: The text of the message.
        reason: The rule, as a key of `stats.skipped`.
        field: The field that is bad.
        message: The number of the bad message in its list, from 0; None if the problem is not one message.
    """

    def __init__(
        self, text: str, *, reason: str = "bad_conversation", field: str = "messages", message: int | None = None
    ) -> None:
        super().__init__(text)
        self.text, self.reason, self.field, self.message = text, reason, field, message
