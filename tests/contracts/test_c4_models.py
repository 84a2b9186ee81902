"""C4: a measurement finds the exact layout for a model, and a model without an exact layout is refused."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import transformers
from packaging.version import Version
from transformers import PreTrainedModel

from samsum_stream import ContaminationError, SFTStream
from samsum_stream.training.model_report import LAYOUTS, Layout, ModelReport
from tests.contracts.test_c4_batches import log_probs, loss_and_gradient, one_by_one
from tests.models import make_model, one_thread
from tests.streams import make_rows, make_stream

FALCON_USES_POSITIONS = Version(transformers.__version__) >= Version("5.24")
"""Falcon uses the positions since this version, so a list of model names would have become wrong."""

ATTENTION = ("eager", "sdpa")
EXACT_WITH_POSITIONS = ("llama", "qwen3", "mistral", "gpt2", "gemma3", "phi")
LEAKING_WITH_POSITIONS = (
    "opt",
    pytest.param("falcon", marks=pytest.mark.skipif(FALCON_USES_POSITIONS, reason="uses positions")),
)
SLIDING = ("mistral", "gemma3")


@pytest.fixture(autouse=True)
def single_thread() -> Iterator[None]:
    with one_thread():
        yield


def packed_stream(attention: str = "auto", **changes: Any) -> SFTStream:
    collator = {"method": "packed", "kwargs": {"attention": attention}}
    return make_stream(make_rows(40), lanes=1, **{"collator_config": collator, "batch_size": 3, **changes})


def difference(report: ModelReport, attention: str) -> float:
    return report.of(Layout("packed", attention)).difference


def require_isolation(model: PreTrainedModel, batch: dict[str, Any]) -> None:
    """The loss and the gradient of a batch are the means over its isolated documents."""
    model.eval()
    model.config.use_cache = False
    expected_loss, expected_gradient = loss_and_gradient(model, isolated_documents(batch))
    loss, gradient = loss_and_gradient(model, [batch])
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert (gradient - expected_gradient).norm() <= 1e-5 * expected_gradient.norm()


def isolated_documents(batch: dict[str, Any]) -> list[dict[str, Any]]:
    return one_by_one({name: batch[name] for name in ("input_ids", "labels", "position_ids")})


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("name", [*EXACT_WITH_POSITIONS, "opt", "falcon"])
def test_auto_chooses_a_layout_with_the_loss_and_gradient_of_isolated_documents(name: str, attention: str) -> None:
    stream, model = packed_stream(), make_model(name, attention)
    batch = next(iter(stream.loader(model=model)))
    assert stream.check_model(model).best.difference <= 1e-5
    require_isolation(model, batch)


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("name", LEAKING_WITH_POSITIONS)
def test_models_that_ignore_positions_leak_with_them_and_get_a_block_mask(name: str, attention: str) -> None:
    stream = packed_stream()
    report = stream.check_model(make_model(name, attention))
    assert difference(report, "position_ids") > 1
    assert difference(report, "block_mask") <= 1e-5
    assert stream.collator.attention == "block_mask"
    assert next(iter(stream.loader()))["attention_mask"].shape == (3, 1, 32, 32)


@pytest.mark.parametrize("name", SLIDING)
def test_with_a_sliding_window_positions_are_exact_and_a_block_mask_leaks(name: str) -> None:
    stream = packed_stream()
    report = stream.check_model(make_model(name, "sdpa"))
    assert difference(report, "position_ids") <= 1e-5
    assert difference(report, "block_mask") > 0.1
    assert stream.collator.attention in ("position_ids", "varlen")


@pytest.mark.parametrize("name", [*EXACT_WITH_POSITIONS, "opt", "falcon", "mamba"])
def test_full_attention_is_reported_as_leaking_on_every_model(name: str) -> None:
    model = make_model(name)
    try:
        report = packed_stream().check_model(model)
    except ContaminationError as error:
        report = error.report
    assert not report.of(Layout("packed", "full")).is_exact
    assert difference(report, "full") > 0.1
    assert report.of(Layout("padded")).is_exact


def test_a_state_space_model_is_refused_when_packed_and_works_when_padded() -> None:
    model = make_model("mamba")
    message = r"MambaForCausalLM.*documents see each other.*position_ids \d.*write .*method: padded"
    for measure in (lambda: packed_stream().check_model(model), lambda: packed_stream().loader(model=model)):
        with pytest.raises(ContaminationError, match=message):
            measure()
    padded = packed_stream(collator_config={"method": "padded"})
    batch = next(iter(padded.loader(model=model)))
    lengths = batch["attention_mask"].sum(1).tolist()
    isolated = [{name: batch[name][row : row + 1, :length] for name in ("input_ids", "labels")}
                for row, length in enumerate(lengths)]  # fmt: skip
    expected, _ = loss_and_gradient(model.eval(), isolated)
    assert loss_and_gradient(model, [batch])[0] == pytest.approx(expected, rel=1e-5)


def test_a_leaking_layout_in_the_config_is_refused() -> None:
    model = make_model("opt")
    with pytest.raises(ContaminationError, match=r"packed/position_ids \d.*write .*attention: auto, or block_mask"):
        packed_stream("position_ids").loader(model=model)
    with pytest.raises(ContaminationError, match=r"packed/position_ids \d.*write .*attention: auto, or block_mask"):
        packed_stream("position_ids").check_model(model)
    packed_stream("full").check_model(model)
    with pytest.raises(ContaminationError, match="padding_free"):
        packed_stream(collator_config={"method": "padding_free"}).loader(model=model)
    assert next(iter(packed_stream("block_mask").loader(model=model)))


class TestTheCache:
    """With a cache, transformers does not detect packed documents, and by default a model has a cache."""

    def test_the_check_warns_about_a_loop_that_leaves_the_cache_on(self, caplog: pytest.LogCaptureFixture) -> None:
        model = make_model("llama")
        assert model.config.use_cache
        report = packed_stream().check_model(model)
        assert report.cached_difference > 0.1
        assert "without use_cache=False lets the documents of a pack see each other" in caplog.text
        assert model.config.use_cache

    def test_a_loop_that_leaves_the_cache_on_is_exact_if_the_loader_knows_the_model(self) -> None:
        model = make_model("llama")
        batch = next(iter(packed_stream().loader(model=model)))
        assert not model.config.use_cache
        model.eval()
        loss = model(**batch).loss
        assert loss.item() == pytest.approx(loss_and_gradient(model, isolated_documents(batch))[0], rel=1e-5)

    def test_a_loop_that_leaves_the_cache_on_leaks_if_no_loader_knows_the_model(self) -> None:
        """The reason for the two tests above."""
        model, batch = make_model("llama").eval(), next(iter(packed_stream().loader()))
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        with_cache = model(**inputs).logits.log_softmax(-1)[:, :-1].gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
        assert (with_cache - log_probs(model, batch)).abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["llama", "mistral", "opt"])
def test_half_precision_has_a_separate_tolerance(name: str, dtype: torch.dtype) -> None:
    stream = packed_stream()
    report = stream.check_model(make_model(name, "sdpa").to(dtype))
    exact = {str(layout.layout) for layout in report.layouts if layout.is_exact}
    assert exact >= {f"packed/{'block_mask' if name == 'opt' else 'position_ids'}", "padded"}
    assert not exact & {"packed/full", "packed/position_ids" if name == "opt" else "packed/full"}
    if stream.collator.attention == "block_mask":
        assert next(iter(stream.loader()))["attention_mask"].dtype == dtype


def test_the_report_has_one_line_for_each_layout() -> None:
    report = packed_stream().check_model(make_model("llama", "sdpa"))
    assert [layout.layout for layout in report.layouts] == list(LAYOUTS)
    lines = str(report).splitlines()
    assert lines[0] == "LlamaForCausalLM (sdpa): differences up to 1e-04 (gradient 1e-04) are rounding"
    assert all(line.startswith(str(layout)) for line, layout in zip(lines[1:], LAYOUTS, strict=True))
    assert lines[4].endswith("leaks")
    assert all(layout.tokens_per_second > 0 for layout in report.layouts)
