"""Builds the renderers of a stream: one for each kind of rows that its sources have."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from samsum_stream.config import StreamConfig
from samsum_stream.errors import ConfigError
from samsum_stream.prompts import ChatTemplate, Prompt, PromptFormat
from samsum_stream.prompts.chat.instruction_rendering import InstructionChatRenderer
from samsum_stream.prompts.chat.instructions import InstructionWriter
from samsum_stream.prompts.chat.loading import LoadedTemplate, TokenizerTexts, load_template
from samsum_stream.prompts.chat.rendering import ChatRenderer
from samsum_stream.prompts.completions import CompletionRenderer
from samsum_stream.prompts.ready_ids import ReadyIdsRenderer, Vocabulary
from samsum_stream.prompts.rendering import PromptRenderer, Renderer, RowRenderer
from samsum_stream.prompts.several_turns import ConversationRenderer
from samsum_stream.prompts.texts import TextRenderer
from samsum_stream.tokenization.joints import Joints
from samsum_stream.tokenization.loading import generation_stop_ids
from samsum_stream.values.rows import Completions, Conversations, Instructions, Texts, TokenIds


@dataclass(frozen=True)
class Formats:
    """In which formats a stream writes its rows.

    Attributes:
        prompt: The prompt, with its format.
        chat: The chat template; None if no row is written with one.
        chat_kinds: The kinds of rows that are written with the chat template.
        completes_prompts: Whether a completion follows its prompt directly, without a format.
    """

    prompt: Prompt
    chat: LoadedTemplate | None
    chat_kinds: Collection[type]
    completes_prompts: bool

    @property
    def uses_tokenizer(self) -> bool:
        """Whether the chat template is the default one of the tokenizer."""
        return self.chat is not None and self.chat.settings.template is None

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """The texts of the added tokens that the chat template writes, and that a row must not write."""
        return () if self.chat is None else tuple(self.chat.written)


def choose_formats(
    config: StreamConfig,
    prompt: Prompt,
    template: ChatTemplate | None,
    tokenizer: PreTrainedTokenizerBase,
    kinds: Collection[type],
) -> Formats:
    """The formats of the kinds of rows that a stream has.

    Args:
        config: The config.
        prompt: The prompt, with its format.
        template: The chat template of the config; None if the config names another format, or none.
        tokenizer: The tokenizer.
        kinds: The kinds of content that the sources have.

    Raises:
        ConfigError: conversations have no format, or the chat template cannot be used.
    """
    has_format = config.prompt_format_config is not None or "format" in config.prompt_config.kwargs
    chat_kinds: Collection[type] = () if template is None else (Instructions, Completions, Conversations)
    if template is None and not has_format and Conversations in kinds:
        if tokenizer.chat_template:
            template, chat_kinds = ChatTemplate(), (Conversations,)
        elif type(prompt.format) is PromptFormat:
            raise _no_format(config)
    loaded = None if template is None else _loaded(config, template, tokenizer)
    return Formats(prompt, loaded, chat_kinds, completes_prompts=not has_format)


def build_renderer(
    config: StreamConfig, formats: Formats, *, bos: str, eos: str, joints: Joints, vocabulary: Vocabulary
) -> Renderer:
    """The renderer of all kinds of rows.

    Args:
        config: The config.
        formats: The formats.
        bos: The text of the tokens that the tokenizer adds at the start.
        eos: The text of the token that ends a response.
        joints: Finds out which texts can be encoded separately.
        vocabulary: The tokens that rows of ids can have.
    """
    instructions: Renderer = PromptRenderer(formats.prompt, bos=bos, eos=eos)
    renderers: dict[type, Renderer] = {
        Instructions: instructions,
        Completions: CompletionRenderer() if formats.completes_prompts else instructions,
        Conversations: ConversationRenderer(formats.prompt, bos=bos, eos=eos, continuation=joints.continuation),
        Texts: TextRenderer(),
        TokenIds: ReadyIdsRenderer(
            vocabulary, allows_packed=config.tokenizer_config.ids_without_borders == "one_document"
        ),
    }
    if formats.chat is not None:
        joints.prepare()
        chat = ChatRenderer(
            formats.chat,
            joints.continuation,
            trains_reasoning=config.loss_config.reasoning,
            parses=config.tokenizer_config.special_tokens_in_rows == "parse",
            verify_every=config.tokenizer_config.verify_every,
        )
        writer = InstructionWriter(formats.prompt, has_documents="documents" in formats.chat.template.variables)
        of_texts = InstructionChatRenderer(chat, writer)
        of_kind = {Instructions: of_texts, Completions: of_texts, Conversations: chat}
        renderers |= {kind: of_kind[kind] for kind in formats.chat_kinds}
    return RowRenderer(renderers)


def _loaded(config: StreamConfig, template: ChatTemplate, tokenizer: PreTrainedTokenizerBase) -> LoadedTemplate:
    where = config.where("prompt_format_config", "kwargs")
    try:
        texts = tokenizer_texts(tokenizer, config)
        return load_template(template, texts, reasoning=config.conversation_config.reasoning)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error.__cause__


def tokenizer_texts(tokenizer: PreTrainedTokenizerBase, config: StreamConfig) -> TokenizerTexts:
    """What a chat template needs to know about the tokenizer of a stream."""
    template: Any = tokenizer.chat_template
    added = tokenizer.added_tokens_decoder
    base_model = config.base_model or str(tokenizer.name_or_path)
    stop_ids = generation_stop_ids(base_model, **config.tokenizer_config.loading_kwargs)
    folder = Path(base_model, config.tokenizer_config.kwargs.subfolder or "")
    return TokenizerTexts(
        templates=template if isinstance(template, dict) else {"default": template} if template else {},
        special_tokens={
            name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)
        },
        special=[token.content for token in added.values() if token.special],
        added=[token.content for token in added.values()],
        eos=str(tokenizer.eos_token),
        stop_tokens=[*(added[number].content for number in stop_ids if number in added), str(tokenizer.eos_token)],
        folder=folder if folder.is_dir() else None,
        barriers=[token.content for token in added.values() if token.special and not token.lstrip],
    )


def _no_format(config: StreamConfig) -> ConfigError:
    return ConfigError(
        f"{config.where('prompt_format_config')}: conversations need a format, and the tokenizer has no chat template; "
        "take the tokenizer of the chat model of this family as base_model, write {method: ChatTemplate, kwargs: "
        "{template: path/to/template.jinja}}, or choose a format such as {method: ChatMLFormat}"
    )
