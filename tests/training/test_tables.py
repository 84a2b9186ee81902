"""A vocabulary or a table of positions that is too small is reported before the first step."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import XGLMConfig, XGLMForCausalLM

from samsum_stream import ConfigError, SFTStream
from samsum_stream.training.tables import position_table
from tests.models import make_model
from tests.streams import MAX_LENGTH, NUM_WORDS, make_config, make_rows, make_stream, word_tokenizer
from tests.training.trainers import Recorder, arguments, attached, layout_of, small_stream

pytestmark = pytest.mark.usefixtures("one_thread")

UNMEASURED = {"packed": {"method": "packed", "kwargs": {"attention": "full"}}}
UNMEASURED |= {
    f"{name}, not measured": {"method": name, "kwargs": {"measure": False}}
    for name in ("packed", "padded", "padding_free")
}
LAYOUTS = {**{name: layout_of(name) for name in ("packed", "padded", "padding_free")}, **UNMEASURED}


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> dict[str, Any]:
    return LAYOUTS[request.param]


def test_a_vocabulary_that_is_too_small_is_an_error_in_every_layout(layout: dict[str, Any], tmp_path: Path) -> None:
    model = make_model("llama")
    model.resize_token_embeddings(20)
    with pytest.raises(ConfigError, match=r"gives the id \d+, and LlamaForCausalLM has a vocabulary of 20; load the"):
        small_stream(collator_config=layout).attach(Recorder(model, arguments(tmp_path)))


def test_a_padding_outside_the_vocabulary_is_an_error(layout: dict[str, Any], tmp_path: Path) -> None:
    stream = small_stream(collator_config=layout)
    stream.collator.pad_token_id = NUM_WORDS
    message = f"pads with the id {NUM_WORDS}, and LlamaForCausalLM has a vocabulary of {NUM_WORDS}"
    with pytest.raises(ConfigError, match=message):
        stream.attach(Recorder(make_model("llama"), arguments(tmp_path)))


def test_the_stream_of_an_evaluation_is_compared_too(layout: dict[str, Any], tmp_path: Path) -> None:
    evaluated = small_stream(collator_config=layout, shuffle=False)
    evaluated.collator.pad_token_id = NUM_WORDS
    trainer = attached(tmp_path, small_stream())
    with pytest.raises(ConfigError, match="pads with the id"):
        trainer.evaluate(evaluated)


def test_tokens_that_are_added_after_the_stream_was_made_are_an_error(layout: dict[str, Any]) -> None:
    tokenizer = word_tokenizer()
    config = make_config(lanes=2, collator_config=layout)
    stream = SFTStream.from_config(config, rows=make_rows(60), tokenizer=tokenizer)
    tokenizer.add_tokens(["<call>", "<end>"])
    model = make_model("llama")
    model.resize_token_embeddings(len(tokenizer))
    message = r"got 2 tokens after the stream was made \(<call>, <end>\).* add tokens first"
    with pytest.raises(ConfigError, match=message):
        stream.fit(model)
    with pytest.raises(ConfigError, match=message):
        stream.loader()
    SFTStream.from_config(config, rows=make_rows(60), tokenizer=tokenizer).loader(model=model)
    tokenizer = word_tokenizer()
    stream = SFTStream.from_config(config, rows=make_rows(60), tokenizer=tokenizer)
    tokenizer.add_tokens(["12"])  # a word of the vocabulary that becomes a token of its own
    with pytest.raises(ConfigError, match=r"got 1 token after the stream was made \(12\)"):
        stream.loader()


def test_tokens_that_only_the_tokenizer_has_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = word_tokenizer()
    stream = SFTStream.from_config(make_config(lanes=2), rows=make_rows(60), tokenizer=tokenizer)
    last = max(tokenizer.get_vocab().values())
    stream.fit(make_model("llama", vocab_size=last))
    assert f"has 1 token that LlamaForCausalLM lacks: {last} (id {last})" in caplog.text
    assert f"resize_token_embeddings({last + 1}) if rows" in caplog.text


@pytest.mark.parametrize(("name", "setting"), [("gpt2", "n_positions"), ("opt", "max_position_embeddings")])
def test_a_table_of_positions_must_hold_the_documents(name: str, setting: str, layout: dict[str, Any]) -> None:
    stream = small_stream(collator_config=layout)
    with pytest.raises(
        ConfigError, match=r"^rows:\d+ .*: the document has \d+ tokens, and \w+ has a table of 8 positions"
    ):
        stream.fit(make_model(name, **{setting: 8}))


def test_a_table_of_positions_that_later_documents_can_exceed_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    make_stream(make_rows(60), lanes=2).fit(make_model("gpt2", n_positions=MAX_LENGTH - 2))
    assert f"made for {MAX_LENGTH - 2} positions, and documents can have {MAX_LENGTH} tokens: a longer" in caplog.text


def test_rotary_positions_have_no_end(caplog: pytest.LogCaptureFixture) -> None:
    stream = make_stream(make_rows(60), lanes=2)
    stream.fit(make_model("llama", max_position_embeddings=16))
    assert "positions" not in caplog.text
    stream.fit(make_model("llama", max_position_embeddings=8))
    assert "a longer document has positions that the model lacks" in caplog.text


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_later_row_that_the_tables_do_not_hold_is_named_before_its_batch(num_workers: int) -> None:
    rows = make_rows(60)
    rows[55]["response"] = " ".join(["7"] * (MAX_LENGTH - 5))
    stream = make_stream(rows, lanes=2, shuffle=False)
    model = make_model("gpt2", n_positions=16)
    with pytest.raises(
        ConfigError, match=r"^rows:55 .*: the document has \d+ tokens, and GPT2LMHeadModel has a table of 16"
    ):
        list(stream.loader(model=model, num_workers=num_workers))
    rows = make_rows(60)
    rows[55]["response"] = "699"
    stream = make_stream(rows, lanes=2, shuffle=False)
    with pytest.raises(
        ConfigError, match=r"^rows:55 .*: the tokenizer gives the id 699, and LlamaForCausalLM has a vo"
    ):
        list(stream.loader(model=make_model("llama", vocab_size=650), num_workers=num_workers))


def test_a_table_that_grows_has_no_end(caplog: pytest.LogCaptureFixture) -> None:
    sizes = {"d_model": 32, "ffn_dim": 64, "num_layers": 1, "attention_heads": 2, "init_std": 0.3}
    torch.manual_seed(0)
    model = XGLMForCausalLM(XGLMConfig(vocab_size=NUM_WORDS, max_position_embeddings=8, **sizes))
    make_stream(make_rows(60), lanes=2, collator_config={"method": "padded"}).fit(model)
    assert "would stop the training" not in caplog.text


def test_the_positions_of_a_vision_tower_are_no_table_of_the_text() -> None:
    """The tower has as many positions, four patches and a class token, as the text model, which computes its own."""
    model = make_model("llava")
    model.config.get_text_config().max_position_embeddings = 5
    assert any(len(weight) == 5 for name, weight in model.named_parameters() if "position" in name)
    assert position_table(model) is None


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT causes it
def test_an_embedding_with_adapters_has_a_vocabulary() -> None:
    model = make_model("llama", vocab_size=20)
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules=["embed_tokens"]))
    with pytest.raises(ConfigError, match="has a vocabulary of 20"):
        make_stream(make_rows(60), lanes=2).fit(adapted)
