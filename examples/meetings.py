"""Generates any number of dialogues in which friends plan a meeting, each with a summary.

A summary repeats who brings what. Therefore a model must read the dialogue to write the summary. A tiny model learns
this in a minute. On the dialogues of `examples/data`, it learns only the form.
"""

import random

# fmt: off
NAMES = (
    "Ada", "Amir", "Bo", "Chen", "Dora", "Emil", "Femi", "Gita", "Hana", "Ivo", "Jana", "Kofi", "Lena", "Mila",
    "Nils", "Omar", "Pia", "Rosa", "Sami", "Tove", "Uma", "Vera", "Wanda", "Yuki", "Zeno",
)
THINGS = (
    "the bread", "the cheese", "a cake", "some juice", "the salad", "two blankets", "the plates", "a guitar",
    "the tent", "some apples", "the charcoal", "a map", "the soup", "my camera", "the candles", "some cookies",
    "the chairs", "a kite", "the coffee", "the ice",
)
# fmt: on
PLACES = ("at the lake", "in the park", "at my place", "on the roof", "by the river", "in the garden", "on the beach")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
TALK = (
    "I'm so looking forward to it!",
    "Will it rain?",
    "No idea, it looked fine this morning.",
    "My train was late again today.",
    "Sorry, I was asleep.",
    "Don't forget your keys this time.",
    "Ha ha, as if I would!",
    "Has anybody heard from the others?",
    "They never answer before noon.",
    "Good, then I'll see you there.",
    "I still have to wash the car and feed the cat before that.",
    "Fine with me.",
)


def make_rows(count: int, *, seed: int) -> list[dict[str, str]]:
    """Rows with the columns `dialogue` and `summary`; the same seed gives the same rows."""
    chooser = random.Random(seed)
    return [make_row(chooser) for _ in range(count)]


def make_row(chooser: random.Random) -> dict[str, str]:
    """A row with two to four friends who say what they bring, and up to fourteen lines of small talk."""
    friends = chooser.sample(NAMES, chooser.randint(2, 4))
    things = chooser.sample(THINGS, len(friends))
    where_and_when = f"{chooser.choice(PLACES)} on {chooser.choice(DAYS)}"
    promises = {
        f"{name}: I'll bring {thing}.": f"{name} brings {thing}" for name, thing in zip(friends, things, strict=True)
    }
    num_lines = min(int(chooser.expovariate(1 / 4)), 14)
    talk = [f"{chooser.choice(friends)}: {chooser.choice(TALK)}" for _ in range(num_lines)]
    lines = [*promises, *talk]
    chooser.shuffle(lines)
    *first, last = [promises[line] for line in lines if line in promises]
    return {
        "dialogue": "\n".join([f"{friends[0]}: Shall we meet {where_and_when}?", *lines]),
        "summary": f"They meet {where_and_when}. {', '.join(first)} and {last}.",
    }
