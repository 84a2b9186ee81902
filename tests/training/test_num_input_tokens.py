"""A Trainer reports the tokens of documents as seen, in every layout."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast, Trainer

from samsum_stream import ConfigError
from samsum_stream.training.real_tokens import real_tokens
from tests.models import make_model
from tests.streams import EOS, make_rows, make_stream, num_tokens
from tests.training.trainers import arguments, layout_of, small_stream

NUM_ROWS = 21
LAYOUTS: dict[str, dict[str, Any]] = {
    **{name: layout_of(name) for name in ("packed", "padding_free", "padded")},
    **{name: {"method": "packed", "kwargs": {"attention": name}} for name in ("block_mask", "varlen", "full")},
    "left": {"method": "padded", "kwargs": {"padding_side": "left"}},
}


def eos_as_padding(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    tokenizer.pad_token = tokenizer.eos_token
    assert tokenizer.pad_token_id == EOS
    return tokenizer


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_tokens_of_documents_are_found_in_a_batch(layout: str) -> None:
    stream = make_stream(make_rows(NUM_ROWS), lanes=1, batch_size=4, collator_config=LAYOUTS[layout])
    tokens = [batch["input_ids"][real_tokens(batch)] for batch in stream.loader()]
    assert torch.cat(tokens).bincount().tolist() == torch.tensor(ids_of_rows()).bincount().tolist()


def ids_of_rows() -> list[int]:
    stream = make_stream(make_rows(NUM_ROWS), lanes=1)
    return [token for pack in stream for example in pack.examples for token in example.input_ids.tolist()]


@pytest.mark.parametrize("layout", ["packed", "block_mask", "padding_free", "padded"])
def test_non_padding_counts_the_tokens_of_documents(layout: str, tmp_path: Path) -> None:
    stream = make_stream(make_rows(NUM_ROWS), lanes=1, batch_size=4, collator_config=LAYOUTS[layout])
    changes = {"num_train_epochs": 2, "include_num_input_tokens_seen": "non_padding"}
    trainer = Trainer(
        make_model("llama"),
        arguments(tmp_path, **changes),
        processing_class=eos_as_padding(copy.deepcopy(stream.tokenizer)),
    )
    stream.attach(trainer)
    trainer.train()
    assert trainer.state.num_input_tokens_seen == 2 * num_tokens(NUM_ROWS)


@pytest.mark.parametrize("value", ["all", True])
def test_all_counts_padding_too(value: object, tmp_path: Path) -> None:
    stream = make_stream(make_rows(NUM_ROWS), lanes=1, batch_size=4, collator_config=LAYOUTS["block_mask"])
    changes = {"max_steps": 2, "include_num_input_tokens_seen": value}
    trainer = Trainer(make_model("llama"), arguments(tmp_path, **changes))
    stream.attach(trainer)
    trainer.train()
    assert trainer.state.num_input_tokens_seen == 2 * 4 * 32


def test_non_padding_is_refused_if_the_trainer_cannot_be_corrected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Trainer, "_track_num_input_tokens")
    trainer = Trainer(make_model("llama"), arguments(tmp_path, include_num_input_tokens_seen="non_padding"))
    with pytest.raises(ConfigError, match="set include_num_input_tokens_seen=all"):
        small_stream().attach(trainer)
