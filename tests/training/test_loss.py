"""A step of an attached Trainer has the loss and the gradient of its documents one at a time, or is refused by name."""

from pathlib import Path
from typing import Any

import pytest
import torch

from samsum_stream import ConfigError
from tests.contracts.trainer_steps import MODELS, SETTINGS, OwnLoss, build_model, outcome, stream_of, train_step
from tests.training.trainers import arguments

REFUSED = {"neftune": "neftune_noise_alpha is 5.0"}

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore")]


def require_equal(folder: Path, model: str, setting: str, *, dtype: torch.dtype = torch.float32, **how: Any) -> None:
    result = outcome(lambda: train_step(model, SETTINGS[setting], folder, dtype=dtype, **how), dtype=dtype)
    assert result == "equal" or (setting in REFUSED and result.startswith(f"refused: {REFUSED[setting]}"))


@pytest.mark.parametrize("setting", SETTINGS)
def test_each_setting(setting: str, tmp_path: Path) -> None:
    require_equal(tmp_path, "llama", setting)


@pytest.mark.parametrize("name", MODELS)
def test_each_model(name: str, tmp_path: Path) -> None:
    require_equal(tmp_path, name, "smoothing")


@pytest.mark.parametrize("layout", ["padded", "padded left", "padding_free"])
@pytest.mark.parametrize("setting", ["own loss", "loss function"])
def test_each_layout(layout: str, setting: str, tmp_path: Path) -> None:
    require_equal(tmp_path, "qwen3", setting, layout=layout)


@pytest.mark.parametrize("name", ["llama", "gemma3 with images", "gpt2", "declines"])
def test_adapters_in_half_precision(name: str, tmp_path: Path) -> None:
    require_equal(tmp_path, name, "own loss", has_adapters=True, dtype=torch.bfloat16)


def test_a_router_keeps_its_own_loss(tmp_path: Path) -> None:
    """The loss of a batch is that of the model, also if the model declines the number of labels."""
    model = build_model("mixtral").eval()
    model.config.output_router_logits, model.router_aux_loss_coef = True, 0.5
    type(model).accepts_loss_kwargs = False
    try:
        trainer = OwnLoss(model, arguments(tmp_path))
        stream = stream_of("padded")
        batch = next(iter(stream.loader()))
        before = trainer.compute_loss(model, dict(batch)).item()
        stream.attach(trainer)
        number = (batch["labels"][:, 1:] != -100).sum()
        after = trainer.compute_loss(model, dict(batch), num_items_in_batch=number).item()
    finally:
        del type(model).accepts_loss_kwargs
    assert after == pytest.approx(before, rel=1e-6)
    assert model(**batch).aux_loss.item() > 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"neftune_noise_alpha": 5.0}, "neftune_noise_alpha is 5.0: the noise depends"),
        ({"n_gpu": 2}, "n_gpu is 2: DataP"),
    ],
)
def test_a_setting_that_would_change_the_gradient_is_refused_by_name(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    trainer = OwnLoss(build_model("llama"), arguments(tmp_path))
    for name, value in changes.items():
        setattr(trainer.args, "_n_gpu" if name == "n_gpu" else name, value)
    with pytest.raises(ConfigError, match=message):
        stream_of("padded").attach(trainer)
