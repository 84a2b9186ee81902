"""Models that cannot be measured: other kinds of models, and models whose weights are not there yet."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LlamaForSequenceClassification,
    LlamaModel,
    T5Config,
    T5ForConditionalGeneration,
    TrainerCallback,
)

from samsum_stream import ConfigError, ContaminationError
from tests.models import make_model
from tests.streams import NUM_WORDS, make_rows, make_stream
from tests.training.trainers import Recorder, arguments, layout_of, small_stream

pytestmark = pytest.mark.usefixtures("one_thread")


def other_kinds() -> dict[str, tuple[Any, str]]:
    config = make_model("llama").config
    sizes = {"vocab_size": NUM_WORDS, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    t5 = T5Config(vocab_size=NUM_WORDS, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    return {
        "a module": (nn.Linear(2, 2), "Linear is not a model of transformers: it has no config"),
        "no module": ("llama", "str is not a model of transformers"),
        "encoder-decoder": (T5ForConditionalGeneration(t5), "T5ForConditionalGeneration is an encoder-decoder"),
        "base model": (LlamaModel(config), "^LlamaModel is a base model: its output has no logits"),
        "classifier": (
            LlamaForSequenceClassification(config),
            r"^LlamaForSequenceClassification gives logits of shape \[1, 2\] for ids .*, as a classifier",
        ),
        "masked": (
            BertForMaskedLM(BertConfig(**sizes, intermediate_size=32, initializer_range=0.5)),
            "the tokens after a document change its log-probabilities by .*, so BertForMaskedLM is not causal",
        ),
    }


@pytest.mark.parametrize("kind", ["a module", "no module", "encoder-decoder", "base model", "classifier", "masked"])
@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_another_kind_of_model_is_refused_by_its_kind(kind: str, layout: str) -> None:
    model, message = other_kinds()[kind]
    stream = make_stream(make_rows(40), lanes=1, collator_config=layout_of(layout))
    with pytest.raises(ConfigError, match=message):
        stream.loader(model=model)


class FillsWeights(TrainerCallback):
    """Puts the weights of the embedding into the model when training begins, after the batches were requested."""

    def __init__(self, model: Any) -> None:
        self.weight = model.get_input_embeddings().weight
        self.values, self.weight.data = self.weight.data, torch.empty(0)

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.weight.data = self.values


def trainer_without_weights(folder: Path, name: str) -> Recorder:
    model = make_model(name)
    return Recorder(model, arguments(folder, max_steps=2), callbacks=[FillsWeights(model)])


def test_a_model_whose_weights_come_later_is_measured_at_the_first_step(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = trainer_without_weights(tmp_path, "llama")
    with caplog.at_level("INFO"):
        small_stream().attach(trainer)
        assert "LlamaForCausalLM is not measured yet, because its weights are empty" in caplog.text
        assert "is exact" not in caplog.text
        trainer.train()
    assert "is exact, measured on LlamaForCausalLM" in caplog.text
    assert trainer.state.global_step == 2


def test_a_leak_that_is_found_at_the_first_step_ends_the_training(tmp_path: Path) -> None:
    trainer = trainer_without_weights(tmp_path, "opt")
    small_stream().attach(trainer)
    with pytest.raises(ContaminationError, match="write collator_config.kwargs.attention: auto, or block_mask"):
        trainer.train()
    assert trainer.state.global_step == 0
    trainer = trainer_without_weights(tmp_path, "opt")
    small_stream(collator_config={"method": "packed"}).attach(trainer)
    with pytest.raises(ConfigError, match="have position_ids, because the weights .* write attention: block_mask"):
        trainer.train()


def test_a_loop_is_warned_of_a_model_on_the_meta_device(caplog: pytest.LogCaptureFixture) -> None:
    small_stream().loader(model=make_model("llama").to("meta"))
    assert "LlamaForCausalLM: document isolation is not measured, because its weights are not there yet" in caplog.text


def test_a_model_that_cannot_run_is_an_error_with_the_words_of_the_model() -> None:
    model = make_model("llama")
    model.model.layers[0].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ConfigError, match=r"cannot run a document \(ZeroDivisionError: .*kwargs.measure: false"):
        small_stream().loader(model=model)
    config = {"method": "packed", "kwargs": {"attention": "position_ids", "measure": False}}
    small_stream(collator_config=config).loader(model=model)


def test_a_model_that_is_replaced_after_attach_is_measured_when_training_begins(tmp_path: Path) -> None:
    trainer = Recorder(make_model("llama"), arguments(tmp_path, max_steps=1))
    small_stream().attach(trainer)
    trainer.model = trainer.model_wrapped = make_model("opt")
    with pytest.raises(ContaminationError, match="OPTForCausalLM"):
        trainer.train()
