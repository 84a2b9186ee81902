"""C4 on a GPU: the check separates rounding from leaks in bf16 and measures packed layouts; skipped without a GPU.

`pytest -s tests/contracts/test_c4_gpu.py` prints the reports, with the tokens per second of each layout.
"""

from importlib.util import find_spec

import pytest
import torch
from transformers import PreTrainedModel

from samsum_stream.training.model_report import Layout, ModelReport
from tests.models import make_model
from tests.streams import make_rows, make_stream

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

HAS_FLASH = find_spec("flash_attn") is not None
ATTENTION = (
    "sdpa",
    pytest.param(
        "flash_attention_2", marks=pytest.mark.skipif(not HAS_FLASH, reason="the package flash_attn is not installed")
    ),
)


def on_gpu(attention: str) -> PreTrainedModel:
    return make_model("llama", attention).to("cuda", torch.bfloat16)


def measured(attention: str, method: str = "packed") -> ModelReport:
    rows = make_rows(200)
    stream = make_stream(rows, collator_config={"method": method}, lanes=1, batch_size=8, max_length=64)
    report = stream.check_model(on_gpu(attention))
    print(f"\n{report}")
    return report


@pytest.mark.parametrize("attention", ATTENTION)
def test_in_bf16_a_packed_layout_is_exact_and_full_attention_leaks(attention: str) -> None:
    report = measured(attention)
    assert report.best.is_exact
    assert report.of(Layout("packed", "full")).verdict == "leaks"
    assert report.of(Layout("padded")).is_exact
    assert all(layout.tokens_per_second > 0 for layout in report.layouts if layout.is_exact)


@pytest.mark.skipif(not HAS_FLASH, reason="the package flash_attn is not installed")
def test_flash_attention_isolates_documents_exactly() -> None:
    report = measured("flash_attention_2", "padding_free")
    assert report.best.layout == Layout("padding_free")
    assert report.of(Layout("packed", "varlen")).is_exact


def test_batches_in_pinned_memory_are_equal_to_other_batches() -> None:
    stream = make_stream(make_rows(60), lanes=1)
    plain, pinned = (list(stream.loader(pin_memory=pin)) for pin in (False, True))
    for one, other in zip(plain, pinned, strict=True):
        assert all(tensor.is_pinned() for tensor in other.values())
        assert all(torch.equal(one[name], other[name]) for name in one)
