"""The section of the tokenizer: how it is loaded, changed, and used."""

from typing import Annotated, Any, Literal

from pydantic import Field

from samsum_stream.config.fields import Name, PositiveInt
from samsum_stream.config.rules import Rule
from samsum_stream.config.section import Section


class TokenizerKwargs(Section):
    """The arguments with which transformers loads the tokenizer of `base_model`; null leaves one out."""

    # transformers ignores names that it does not know, so that a misspelled one would have no effect.
    revision: Name | None = Field(default=None, description="the branch, tag or commit on the Hub")
    subfolder: Name | None = Field(default=None, description="the folder of the tokenizer in base_model")
    use_fast: Annotated[Literal[True], Rule("true, because streams need the fast tokenizer")] | None = Field(
        default=None, description="always true: streams need the fast tokenizer"
    )
    fix_mistral_regex: bool | None = Field(default=None, description="whether the words of early files are corrected")
    add_bos_token: bool | None = Field(default=None, description="whether a text starts with the bos")
    add_eos_token: bool | None = Field(default=None, description="whether a text ends with the eos, outside streams")
    add_prefix_space: bool | None = Field(default=None, description="whether a text starts with a space")
    legacy: bool | None = Field(default=None, description="the older behaviour of SentencePiece tokenizers")
    model_max_length: PositiveInt | None = Field(default=None, description="the length that the model reads")
    padding_side: Literal["right", "left"] | None = Field(default=None, description="for generation; no batch uses it")
    tokenizer_type: Name | None = Field(default=None, description="the type of model whose tokenizer class is used")
    gguf_file: Name | None = Field(default=None, description="the GGUF file of base_model")
    cache_dir: Name | None = Field(default=None, description="the folder of downloaded files")
    local_files_only: bool | None = Field(default=None, description="whether nothing is downloaded")
    force_download: bool | None = Field(default=None, description="whether files are downloaded again")
    proxies: dict[str, str] | None = Field(default=None, repr=False, description="the proxy of each protocol")
    token: Name | bool | None = Field(default=None, repr=False, description="the access token of the Hub")


class TokenizerConfig(Section):
    """How text is converted to tokens."""

    backend: Literal["auto", "hf", "fastokens"] = Field(
        default="auto", description="the encoder; auto uses fastokens if it provably agrees with hf"
    )
    special_tokens_in_rows: Literal["text", "parse", "error"] = Field(
        default="text", description="how to treat a special token that is spelled in the text of a row"
    )
    ids_without_borders: Literal["error", "one_document"] = Field(
        default="error", description="how to treat a row of ids that seems to hold several documents without borders"
    )
    verify_every: PositiveInt = Field(
        default=1000, description="the interval, in chunks, at which the ids of both backends are compared"
    )
    kwargs: TokenizerKwargs = Field(default=TokenizerKwargs(), description="how the tokenizer is loaded")
    add_tokens: list[Name] = Field(default_factory=list, description="more tokens, which are not special")
    add_special_tokens: list[Name] = Field(default_factory=list, description="more special tokens")
    eos_token: Name | None = Field(default=None, description="the token that ends a response")
    pad_token: Name | None = Field(default=None, description="the token of padding")
    chat_template: Name | None = Field(default=None, description="a chat template: its text, or a .jinja file")

    @property
    def loading_kwargs(self) -> dict[str, Any]:
        """The arguments of `AutoTokenizer.from_pretrained`."""
        return self.kwargs.model_dump(exclude_none=True)
