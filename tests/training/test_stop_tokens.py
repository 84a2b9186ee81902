"""`attach` warns if generation of the model does not stop at the end of trained turns."""

from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from samsum_stream import SFTStream
from samsum_stream.training.stop_tokens import loaded_template, stop_token
from tests.models import make_model
from tests.prompts.chat.templates import CHATML, EOS_AT_THE_END, control_tokens
from tests.streams import EOS, IM_END, make_config, make_rows, word_tokenizer
from tests.training.trainers import Recorder, arguments, layout_of

ROWS = [{"messages": [{"role": "user", "content": "11"}, {"role": "assistant", "content": "12 13"}]}] * 40


def tokenizer_with(template: str) -> PreTrainedTokenizerFast:
    """Whole words; the eos is not the stop token of the template."""
    tokenizer = word_tokenizer()
    tokenizer.add_special_tokens({"extra_special_tokens": control_tokens(template)})
    tokenizer.chat_template = template
    return tokenizer


def stream_of(rows: Any, template: str = CHATML) -> SFTStream:
    config = make_config(collator_config=layout_of("packed"), lanes=1)
    return SFTStream.from_config(config, rows=rows, tokenizer=tokenizer_with(template))


def attach(folder: Path, stream: SFTStream, stops: Any, **kwargs: Any) -> None:
    model = make_model("llama")
    model.resize_token_embeddings(len(stream.tokenizer))
    model.generation_config.eos_token_id = stops
    stream.attach(Recorder(model, arguments(folder, max_steps=1), **kwargs))


def test_a_model_that_does_not_stop_at_the_end_of_a_turn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    attach(tmp_path, stream_of(ROWS), EOS)
    [warning] = [record.message for record in caplog.records if "trained turn" in record.message]
    assert f"ends with <|im_end|> (id {IM_END})" in warning
    assert warning.endswith(f"; set model.generation_config.eos_token_id to [{EOS}, {IM_END}]")


@pytest.mark.parametrize("stops", [IM_END, [EOS, IM_END]])
def test_a_model_that_stops_there(tmp_path: Path, caplog: pytest.LogCaptureFixture, stops: Any) -> None:
    attach(tmp_path, stream_of(ROWS), stops)
    assert "trained turn" not in caplog.text


def test_the_trainer_adds_the_eos_of_its_tokenizer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stream = stream_of(ROWS)
    tokenizer = tokenizer_with(CHATML)
    tokenizer.eos_token = "<|im_end|>"
    attach(tmp_path, stream, EOS, processing_class=tokenizer)
    assert "trained turn" not in caplog.text


def test_a_stream_without_a_chat_template_trains_the_eos(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The Trainer gets the tokenizer of the stream, and the model its eos, unless the Trainer has another tokenizer."""
    stream = stream_of(make_rows(40))
    attach(tmp_path, stream, IM_END)
    assert "trained turn" not in caplog.text
    tokenizer = tokenizer_with(CHATML)
    tokenizer.eos_token = "<|im_end|>"
    attach(tmp_path, stream, IM_END, processing_class=tokenizer)
    assert f"every trained turn ends with {stream.tokenizer.eos_token} (id 2), and generation_config" in caplog.text


def test_a_model_without_stops_gets_the_eos_of_the_tokenizer_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    attach(tmp_path, stream_of(ROWS), None)
    assert "eos_token_id of the model is [2], so generation would not stop at the end of a turn" in caplog.text


def test_the_stop_token_is_the_one_before_an_eos() -> None:
    loaded = loaded_template(stream_of(ROWS, EOS_AT_THE_END).pipeline.encoder.renderer)
    assert loaded is not None
    assert stop_token(loaded) == "<|end|>"
    assert loaded_template(stream_of(make_rows(40)).pipeline.encoder.renderer) is None
