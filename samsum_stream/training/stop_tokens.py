"""The token with which the turns of a chat template end, and whether the generation of a model stops there."""

import logging
from collections.abc import Iterator
from typing import Any

from samsum_stream.prompts.chat.loading import LoadedTemplate
from samsum_stream.prompts.chat.rendering import ChatRenderer
from samsum_stream.prompts.chat.turns import Turn
from samsum_stream.prompts.rendering import Renderer, RowRenderer
from samsum_stream.training.protocol import Stream
from samsum_stream.values.conversations import ASSISTANT, Conversation, Message
from samsum_stream.values.rows import Conversations

logger = logging.getLogger(__name__)

_ANSWER: list[Message] = [{"role": "user", "content": "Question"}, {"role": ASSISTANT, "content": "Answer"}]


def loaded_template(renderer: Renderer) -> LoadedTemplate | None:
    """The chat template that a renderer uses; None if it uses none."""
    chat = renderer.renderers.get(Conversations) if isinstance(renderer, RowRenderer) else None
    return chat.loaded if isinstance(chat, ChatRenderer) else None


def stop_token(loaded: LoadedTemplate) -> str | None:
    """The last token of a trained answer; None if the template cannot write a question and an answer."""
    turn = loaded.finder.turn(loaded.forms.adapt(Conversation(_ANSWER)), 1)
    if not isinstance(turn, Turn):
        return None
    return next((token for token in loaded.finder.stops.tokens if turn.target.endswith(token)), None)


def warn_if_not_a_stop(stream: Stream, trainer: Any) -> None:
    """Warn if generation of the Trainer's model does not stop at the last token of trained turns.

    The Trainer itself adds the eos of its `processing_class`.
    """
    processing_class = getattr(trainer.processing_class, "tokenizer", trainer.processing_class)
    ids = _ids(getattr(trainer.model, "generation_config", None)) | _ids(processing_class)
    for number in sorted({*_last_trained(stream)} - ids) if ids else ():
        logger.warning(
            "every trained turn ends with %s (id %d), and generation_config.eos_token_id of the model is %s, so "
            "generation would not stop at the end of a turn; set model.generation_config.eos_token_id to %s",
            *(stream.tokenizer.convert_ids_to_tokens(number), number, sorted(ids), sorted({*ids, number})),
        )


def _last_trained(stream: Stream) -> Iterator[int]:
    """The tokens that end trained turns: of each task, that of its chat template, else the eos."""
    for encoder in stream.pipeline.encoder.each:
        loaded = loaded_template(encoder.renderer)
        token = stream.tokenizer.eos_token if loaded is None else stop_token(loaded)
        number = None if token is None else encoder.tokenizer.reference.tokenizer.token_to_id(str(token))
        if number is not None:
            yield number


def _ids(config: Any) -> set[int]:
    """The ids of `eos_token_id`, which is one id, a list or missing."""
    ids = getattr(config, "eos_token_id", None)
    return {ids} if isinstance(ids, int) else {*(ids or ())}
