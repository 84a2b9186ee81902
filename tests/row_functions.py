"""Functions that configs of the tests name under `map` and `filter`."""

from typing import Any

from tests.streams import make_rows

Row = dict[str, Any]


def is_even(row: Row) -> bool:
    return int(row["score"]) % 2 == 0


def has_question(row: Row) -> bool:
    """Reads a column that only `renamed` gives."""
    return int(row["question"]) % 2 == 0


def renamed(row: Row) -> Row:
    """An input with another word for the model, under other names than those of the fields."""
    return {"question": row["input"], "answer": f"{row.get('response')} {row['input']}"}


def with_title(row: Row) -> Row:
    return {**row, "input": f"{row.get('title')}: {row['input']}"}


def as_conversation(row: Row) -> Row:
    return {
        "messages": [
            {"role": "user", "content": row["input"]},
            {"role": "assistant", "content": row["response"]},
        ]
    }


def unchanged(row: Row) -> Row:
    return row


def keeps_label(row: Row) -> bool:
    """A class label is a number here, as in the `datasets` library."""
    return bool(row["label"] == 1)


def doubled(row: Row) -> Row:
    """Changes its argument, also a list in it."""
    row["parts"] += row["parts"]
    row["response"] = " ".join(row["parts"])
    return row


def everything(row: Row) -> bool:
    return bool(sorted(row) == ["input", "meta", "response", "score", "topic"])


def number(row: Row) -> int:
    return int(row["score"])


def nothing(row: Row) -> None:
    return None


def fails_at_7(row: Row) -> Any:
    if int(row["score"]) == 7:
        raise ValueError("seven")
    return row


def keeps_but_fails_at_7(row: Row) -> bool:
    return bool(fails_at_7(row))


def blank_at_7(row: Row) -> Row:
    return {**row, "response": " "} if int(row["score"]) == 7 else row


NOT_A_FUNCTION = 3


def sixty_rows() -> list[Row]:
    return make_rows(60)
