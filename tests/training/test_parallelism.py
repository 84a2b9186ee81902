"""`attach` refuses the kinds of parallelism with which a Trainer would train on other rows or with another loss."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import ParallelismConfig
from accelerate.state import AcceleratorState
from accelerate.utils.deepspeed import HfDeepSpeedConfig
from transformers import Trainer

from samsum_stream import ConfigError
from tests.contracts.trainer_steps import Declines, Extends
from tests.models import MODELS, make_model
from tests.streams import make_rows, make_stream
from tests.training.trainers import arguments, layout_of

PADDED = {"collator_config": layout_of("padded"), "lanes": 1}

Parallel = Callable[..., Trainer]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def parallel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parallel:
    """Makes a Trainer whose accelerator has a ParallelismConfig. (accelerate itself refuses one on a CPU.)"""

    def make(*, kind: type[Trainer] = Trainer, model: Any = None, loss: Any = None, **changes: Any) -> Trainer:
        sizes = {name: changes.pop(name) for name in ("cp_size", "sp_size", "tp_size") if name in changes}
        model = model or make_model("llama")
        trainer = kind(model, arguments(tmp_path, max_steps=1, **changes), compute_loss_func=loss)
        monkeypatch.setitem(AcceleratorState._shared_state, "parallelism_config", ParallelismConfig(**sizes))
        return trainer

    return make


def test_context_parallelism_of_padded_rows_is_attached(parallel: Parallel) -> None:
    make_stream(**PADDED).attach(parallel(cp_size=2))


@pytest.mark.parametrize("layout", ["packed", "padding_free"])
def test_context_parallelism_of_packed_rows_is_refused(layout: str, parallel: Parallel) -> None:
    stream = make_stream(lanes=1, collator_config=layout_of(layout))
    with pytest.raises(ConfigError, match=rf"must be padded, .* 2 ranks compute parts of .* got {layout}"):
        stream.attach(parallel(cp_size=2))


def no_loss(*args: Any, **kwargs: Any) -> torch.Tensor:
    raise AssertionError("the loss is not computed")


@pytest.mark.parametrize(
    ("rule", "settings"),
    [
        ("label_smoothing_factor must be 0", {"label_smoothing_factor": 0.1}),
        ("compute_loss_func must be left out", {"loss": no_loss}),
        ("Extends.compute_loss would get the labels of a part; use transformers.Trainer", {"kind": Extends}),
        ("the model must take num_items_in_batch", {"model": Declines(MODELS["llama"][1](**MODELS["llama"][2]))}),
        ("non_padding would count parts wrongly; set all", {"include_num_input_tokens_seen": "non_padding"}),
        ("MambaForCausalLM computes rows in 2 parts", {"model": make_model("mamba")}),
    ],
)
def test_a_loss_that_does_not_add_up_over_parts_of_rows_is_refused(
    rule: str, settings: dict[str, Any], parallel: Parallel
) -> None:
    """Without context parallelism, all of them train."""
    with pytest.raises(ConfigError, match=rule):
        make_stream(**PADDED).attach(parallel(cp_size=2, **settings))
    make_stream(**PADDED).attach(parallel(cp_size=1, **settings))


def test_without_measurement_a_model_is_trusted(parallel: Parallel) -> None:
    make_stream(**PADDED).attach(parallel(cp_size=2, model=make_model("mamba")), measure=False)
    unmeasured = {**PADDED, "collator_config": {"method": "padded", "kwargs": {"measure": False}}}
    make_stream(**unmeasured).attach(parallel(cp_size=2, model=make_model("mamba")))


def test_a_model_whose_weights_are_not_there_yet_is_not_measured(
    parallel: Parallel, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = parallel(cp_size=2)
    trainer.model = make_model("mamba").to("meta")
    make_stream(**PADDED).attach(trainer)
    assert "context parallelism is not measured, because its weights are on the meta device" in caplog.text


def test_a_stream_is_not_evaluated_with_context_parallelism(parallel: Parallel) -> None:
    trainer = parallel(cp_size=2)
    make_stream(**PADDED).attach(trainer)
    with pytest.raises(ConfigError, match="cp_size: a stream cannot be evaluated .*; leave the evaluation stream out"):
        trainer.evaluate(make_stream(make_rows(5), epochs=1, shuffle=False, **PADDED))


def test_sequence_parallelism_of_deepspeed_is_refused(parallel: Parallel) -> None:
    with pytest.raises(ConfigError, match=r"sp_size is 2: .* checkpoint would skip rows, .* use ParallelismConfig\(cp"):
        make_stream(**PADDED).attach(parallel(sp_size=2))


def test_tensor_parallelism_of_deepspeed_is_refused_and_that_of_accelerate_is_not(parallel: Parallel) -> None:
    make_stream(lanes=1).attach(parallel(tp_size=2))
    for size in (1, 2):
        trainer = parallel()
        config = {"tensor_parallel": {"autotp_size": size}, "zero_optimization": {"stage": 1}}
        trainer.args.hf_deepspeed_config = HfDeepSpeedConfig(config)  # type: ignore[attr-defined]
        refused = pytest.raises(ConfigError, match=r"autotp_size of the DeepSpeed config is 2: .* ParallelismConfig\(t")
        with refused if size == 2 else nullcontext():
            make_stream(lanes=1).attach(trainer)
