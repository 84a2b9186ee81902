"""The isolation check measures a model in its current state, and restores this state."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from torch import nn
from transformers import LlamaConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from samsum_stream import ConfigError, ContaminationError
from samsum_stream.batching import collation
from samsum_stream.batching.attention import ATTENTION as FORMS
from samsum_stream.training.isolation import measure
from samsum_stream.training.model_report import LAYOUTS, Layout, LayoutReport, ModelReport
from samsum_stream.training.probing import probe_packs
from tests.models import make_model
from tests.streams import MAX_LENGTH, NUM_WORDS, make_rows, make_stream
from tests.training.trainers import Recorder, arguments


def check(model: Any, **changes: Any) -> ModelReport:
    return make_stream(make_rows(40), lanes=1, **changes).check_model(model)


def test_modes_gradients_parameters_and_the_cache_are_as_before() -> None:
    model = make_model("llama").train()
    model.model.layers[0].eval()
    frozen, with_grad = model.lm_head.weight, model.model.norm.weight
    frozen.requires_grad_(False)
    with_grad.grad = torch.full_like(with_grad, 7.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    check(model)
    assert [module.training for module in model.modules()] == modes
    assert model.config.use_cache
    assert torch.equal(torch.get_rng_state(), random)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (parameter is not frozen)
        assert (parameter.grad is None) == (parameter is not with_grad), name
    assert with_grad.grad.unique().tolist() == [7.0]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_state_is_restored_if_no_layout_is_exact() -> None:
    model = make_model("mamba").train()
    with pytest.raises(ContaminationError):
        check(model)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_dropout_does_not_make_a_difference() -> None:
    assert check(make_model("llama", attention_dropout=0.5).train()).of(Layout("packed", "position_ids")).is_exact


@pytest.mark.filterwarnings(
    "ignore:.*gradient_checkpointing:FutureWarning"
)  # the new names are not in all 5.x releases
@pytest.mark.parametrize("reentrant", [True, False])
def test_a_model_with_adapters_under_gradient_checkpointing(reentrant: bool) -> None:
    base = make_model("llama")
    base.gradient_checkpointing_enable({"use_reentrant": reentrant})
    base.enable_input_require_grads()
    model = get_peft_model(base, LoraConfig(target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")).train()
    report = check(model)
    assert report.best.layout.method == "packed"
    assert 0 < report.best.gradient_difference <= 1e-5
    assert report.of(Layout("packed", "full")).gradient_difference > 0.1
    assert report.cached_difference == 0 or report.cached_difference > 0.1


def test_a_model_without_trained_parameters_is_measured_by_its_log_probabilities() -> None:
    report = check(make_model("llama").requires_grad_(False))
    assert report.best.gradient_difference == 0
    assert not report.of(Layout("packed", "full")).is_exact


def test_under_autocast_the_autocast_computation_is_measured() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        report = check(make_model("llama"))
    assert 1e-4 < report.best.difference <= report.tolerance < 0.3


def test_a_model_may_have_fewer_learned_positions_than_a_row_has_tokens() -> None:
    """Each document is short enough, the row is not."""
    model = make_model("gpt2", n_positions=16)
    assert check(model).best.difference <= 1e-5


class NoPositions(PreTrainedModel):
    """A custom model that takes only ids and labels."""

    config_class = LlamaConfig
    _supports_sdpa = True

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embed, self.head = nn.Embedding(NUM_WORDS, 16), nn.Linear(16, NUM_WORDS)

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor, use_cache: bool = False) -> CausalLMOutput:
        logits = self.head(self.embed(input_ids))
        loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return CausalLMOutput(loss=loss, logits=logits)


def test_a_rejected_layout_is_reported_with_the_error_of_the_model() -> None:
    model = NoPositions(make_model("llama").config)
    with pytest.raises(ContaminationError, match=r"packed/position_ids is rejected") as caught:
        check(model)
    report = caught.value.report.of(Layout("packed", "position_ids"))
    assert (report.verdict, math.isnan(report.difference)) == ("rejected", True)
    assert "unexpected keyword argument 'position_ids'" in report.problem


class TestTheBestLayout:
    def report(self, method: str = "packed", **exact: float) -> ModelReport:
        """A report in which the named layouts are exact, with their tokens per second."""
        reports = []
        for layout in LAYOUTS:
            speed = exact.get(str(layout.form or layout.method), 0.0)
            reports.append(LayoutReport(layout, 0.0 if speed else 5.0, 0.0, bool(speed), speed or 1.0))
        return ModelReport("Model (sdpa)", 1e-4, 1e-4, tuple(reports), method)

    def test_is_the_fastest_exact_one_of_the_configs_method(self) -> None:
        best = self.report(position_ids=100.0, block_mask=200.0, padded=900.0).best
        assert str(best.layout) == "packed/block_mask"
        assert str(self.report("padding_free", padding_free=5.0, position_ids=9.0).best.layout) == "padding_free"

    def test_is_the_first_of_layouts_with_about_the_same_speed(self) -> None:
        assert str(self.report(position_ids=100.0, block_mask=110.0, varlen=90.0).best.layout) == "packed/position_ids"

    def test_without_an_exact_layout_is_an_error_with_the_leaks_and_a_remedy(self) -> None:
        with pytest.raises(ContaminationError) as caught:
            _ = self.report(padded=10.0).best
        message = str(caught.value)
        assert "packed/position_ids 5.0e+00, packed/block_mask 5.0e+00, packed/varlen 5.0e+00" in message
        assert message.endswith("write collator_config.method: padded, which is exact")
        with pytest.raises(ContaminationError, match="; load the model with another attn_implementation"):
            _ = self.report().best


def test_a_model_is_measured_once_for_all_loaders() -> None:
    model, stream = make_model("llama"), make_stream(make_rows(40), lanes=1)
    stream.loader(model=model)
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    stream.loader(model=model)
    assert not calls
    stream.loader(model=make_model("opt"))
    assert stream.collator.attention == "block_mask"


def test_a_loader_takes_the_layout_that_a_later_check_finds() -> None:
    stream = make_stream(make_rows(40), lanes=1)
    loader = stream.loader()
    stream.check_model(make_model("opt"))
    assert "attention_mask" in next(iter(loader))


def test_measuring_counts_nothing_and_moves_nothing() -> None:
    stream, untouched = make_stream(make_rows(40), lanes=1), make_stream(make_rows(40), lanes=1)
    stream.check_model(make_model("llama"))
    assert stream.stats.rows == 0
    assert [pack.num_tokens for pack in stream] == [pack.num_tokens for pack in untouched]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral"])
def test_a_leak_of_one_token_is_found_beside_the_rounding(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three tokens of the second document see the last token of the first one."""

    def leaking(tensors: Any, batch: Any, mask_dtype: torch.dtype) -> Any:
        masked = FORMS["block_mask"](tensors, batch, mask_dtype)
        for row, positions in enumerate(tensors["position_ids"]):
            start = (positions == 0).nonzero()[1, 0].item()
            masked["attention_mask"][row, 0, start : start + 3, start - 1] = 0
        return masked

    model = make_model(name).to(dtype)
    report = check(model)
    assert report.of(Layout("packed", "block_mask")).is_exact
    monkeypatch.setitem(collation.ATTENTION, "varlen", leaking)
    report = check(model)
    assert not report.of(Layout("packed", "varlen")).is_exact
    assert report.of(Layout("packed", "block_mask")).is_exact


def test_gradients_are_compared_on_parameters_that_text_reaches() -> None:
    """The parameters of the vision tower are the first ones, and text reaches none of them."""
    report = check(make_model("llava"))
    assert 0 < report.of(Layout("packed", "position_ids")).gradient_difference <= 1e-5
    assert report.of(Layout("packed", "full")).gradient_difference > 0.1


def test_padding_on_the_left_is_refused_on_absolute_positions() -> None:
    stream = make_stream(
        make_rows(40), lanes=1, collator_config={"method": "padded", "kwargs": {"padding_side": "left"}}
    )
    stream.loader(model=make_model("llama"))
    with pytest.raises(ContaminationError, match=r"padded/left \d.*write collator_config.kwargs.padding_side: right"):
        stream.loader(model=make_model("gpt2"))


def test_only_the_layouts_of_the_config_run_when_a_loader_gets_the_model() -> None:
    def num_runs(attention: str) -> int:
        model, calls = make_model("llama"), []
        model.register_forward_hook(lambda *_: calls.append(1))
        kwargs = {"attention": attention}
        make_stream(make_rows(40), lanes=1, collator_config={"kwargs": kwargs}).loader(model=model)
        return len(calls)

    assert num_runs("auto") - num_runs("position_ids") >= 2 * 2  # two more forms, two probes each


def test_a_long_measurement_says_how_a_later_run_leaves_it_out(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samsum_stream.training.choosing.LONG", 0.0)
    make_stream(make_rows(40), lanes=1).fit(make_model("opt"))
    assert "collator_config.kwargs: {attention: block_mask, measure: false}" in caplog.text
    kwargs = {"attention": "block_mask", "measure": False}
    make_stream(make_rows(40), lanes=1, collator_config={"method": "packed", "kwargs": kwargs}).fit(make_model("opt"))


@pytest.mark.parametrize("name", ["llama", "opt", "mistral", "gpt2"])
@pytest.mark.parametrize("method", ["packed", "padded", "padding_free"])
def test_rows_whose_length_is_a_multiple_are_as_exact_as_others(method: str, name: str) -> None:
    plain, multiple = (
        make_stream(make_rows(40), lanes=1, collator_config={"method": method, "kwargs": kwargs})
        for kwargs in ({}, {"pad_to_multiple_of": 28})
    )
    batch = next(iter(multiple.loader()))
    assert batch["input_ids"].shape[1] % 28 == 0
    report, expected = (
        measure(make_model(name), probe_packs(one.pipeline), collator=one.collator) for one in (multiple, plain)
    )
    assert [layout.verdict for layout in report.layouts] == [layout.verdict for layout in expected.layouts]


@pytest.mark.parametrize("method", ["packed", "padded", "padding_free"])
def test_positions_that_depend_on_the_longest_document_are_refused(method: str) -> None:
    """Dynamic rotary positions change if a batch has a document that is longer than the original positions."""
    config = {"method": method, "kwargs": {}}
    dynamic = {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}}
    model = make_model("llama", max_position_embeddings=MAX_LENGTH - 8, **dynamic)
    with pytest.raises((ConfigError, ContaminationError), match="rope_type: dynamic|documents"):
        make_stream(make_rows(40), lanes=1, collator_config=config).fit(model)
    stream = make_stream(make_rows(40), lanes=1, collator_config=config, max_length=MAX_LENGTH - 8)
    assert stream.fit(make_model("llama", max_position_embeddings=MAX_LENGTH - 8, **dynamic))


def test_a_model_that_accelerate_has_put_into_autocast_is_measured_in_its_precision(tmp_path: Path) -> None:
    """Its weights are float32, and its `forward` computes in bfloat16, also after the training."""
    trainer = Recorder(make_model("llama"), arguments(tmp_path, bf16=True, max_steps=1))
    stream = make_stream(make_rows(40), lanes=1)
    stream.attach(trainer)
    trainer.train()
    report = make_stream(make_rows(40), lanes=1).check_model(trainer.model)
    assert report.tolerance > 1e-2
    assert report.of(Layout("packed", "full")).verdict == "leaks"


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT causes it
@pytest.mark.parametrize("method", ["packed", "padded"])
def test_virtual_tokens_before_a_row_are_seen_by_its_first_document_only(method: str) -> None:
    settings = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    model = get_peft_model(make_model("llama"), settings)
    stream = make_stream(make_rows(40), lanes=1, collator_config={"method": method})
    if method == "packed":
        with pytest.raises(ContaminationError, match="write collator_config.method: padded, which is exact"):
            stream.fit(model)
    else:
        assert stream.fit(model)
