r"""The texts of renderings that are encoded, and which of them start in the middle of a text.

Llama-2 and Mistral add a dummy space at the start of a text, and also after an added token:

run         "Hello</s>"    "\nUser: Hi\nAssistant:\n"    "Yes</s>"
trained     yes            no                           yes
encoded     as a middle    as a start                   as a middle     of a text

A trained run is always in the middle of a text: the model writes the run after its prompt.
"""

from typing import NamedTuple

import numpy as np

from samsum_stream.values.arrays import BoolArray, Int64Array
from samsum_stream.values.renderings import Pieces, Renderings


class Texts(NamedTuple):
    """Texts to encode.

    Attributes:
        texts: The texts.
        continues: Whether each of them starts in the middle of a text.
        pieces: The pieces of each run among the texts; None if each run is one text.
    """

    texts: list[str]
    continues: BoolArray
    pieces: Pieces | None


def texts_of(renderings: Renderings, restarting: tuple[str, ...]) -> Texts:
    """The texts of renderings.

    Args:
        renderings: The renderings.
        restarting: The added tokens after which a text is encoded as at its start.
    """
    texts, continues, pieces = renderings.texts, renderings.continues, renderings.pieces
    runs = runs_that_restart(renderings, restarting)
    if pieces is None:
        continues[runs] = False
    if pieces is None or not len(runs):
        return Texts(texts, continues, pieces)
    return _with_copies(texts, continues, pieces, pieces.of_runs.offsets[runs])


def runs_that_restart(renderings: Renderings, restarting: tuple[str, ...]) -> Int64Array:
    """The runs that follow a trained run with one of the tokens at its end."""
    if not restarting:
        return np.empty(0, np.int64)
    trained: BoolArray = renderings.per_run(lambda shape: np.array([run.trained for run in shape], np.bool_))
    follows = np.append(False, trained[:-1]) & ~trained
    follows[renderings.layout.offsets[:-1]] = False
    runs = np.flatnonzero(follows)
    before = runs - 1 if renderings.pieces is None else _last_pieces(renderings.pieces, runs - 1)
    return runs[[renderings.texts[index].endswith(restarting) for index in before.tolist()]]


def _last_pieces(pieces: Pieces, runs: Int64Array) -> Int64Array:
    return pieces.of_runs.ids[pieces.of_runs.offsets[runs + 1] - 1].astype(np.int64)


def _with_copies(texts: list[str], continues: BoolArray, pieces: Pieces, firsts: Int64Array) -> Texts:
    """The texts, with a copy of each piece that restarts: the same piece can be in the middle of another run."""
    of_runs = pieces.of_runs
    firsts = firsts[~np.isin(of_runs.ids[firsts], [*pieces.ordinary])]
    copied, index = np.unique(of_runs.ids[firsts], return_inverse=True)
    ids = of_runs.ids.copy()
    ids[firsts] = len(texts) + index
    copies = [texts[piece] for piece in copied.tolist()]
    continues = np.append(continues, np.zeros(len(copies), np.bool_))
    return Texts([*texts, *copies], continues, pieces._replace(of_runs=of_runs._replace(ids=ids)))
