"""A step of an attached Trainer, and the same documents one at a time: loss and gradient must be equal.

The documents are those of the batches that the Trainer trained on, cut at their position ids or attention masks.
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn.functional import log_softmax
from transformers import LlamaForCausalLM, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from samsum_stream import SamsumStreamError
from tests.models import make_model
from tests.streams import make_rows, make_stream

ACCUMULATION, SMOOTHING = 3, 0.3
LAYOUTS = ("packed", "padded", "padded left", "padding_free")
DTYPES = (torch.float32, torch.bfloat16)


class Plain(LlamaForCausalLM):
    """A model of a user, whose forward takes no keywords for the loss."""

    def forward(  # type: ignore[override]
        self, input_ids: Any, attention_mask: Any = None, position_ids: Any = None, labels: Any = None
    ) -> Any:
        return super().forward(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, labels=labels
        )


class Declines(LlamaForCausalLM):
    """A model that declines the number of labels, as those of some image models do."""

    accepts_loss_kwargs = False


class OwnLoss(Trainer):
    """The usual subclass: the loss of the model, a mean over a batch."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        outputs = model(**inputs)
        return (outputs.loss, outputs) if return_outputs else outputs.loss


class Extends(Trainer):
    """A subclass that calls `super()`."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        return super().compute_loss(*args, **kwargs)


class Divides(Trainer):
    """A subclass that sums, and divides by the number of labels of the step."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = loss_sum(outputs.logits, labels) / num_items_in_batch
        return (loss, outputs) if return_outputs else loss


def of_caller(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """A caller's `compute_loss_func`."""
    return loss_sum(outputs.logits, labels) / num_items_in_batch


def mean_of_caller(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """A caller's `compute_loss_func` that takes no notice of the number of labels of the step."""
    return loss_sum(outputs.logits, labels) / (labels[:, 1:] != -100).sum()


def loss_sum(logits: torch.Tensor, labels: torch.Tensor, *, smoothing: float = 0.0) -> torch.Tensor:
    """The sum of the losses of the labels."""
    log_probs, labels = log_softmax(logits[:, :-1].float(), -1), labels[:, 1:]
    trained = labels != -100
    own = -log_probs.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return ((1 - smoothing) * own - smoothing * log_probs.mean(-1))[trained].sum()


class Setting(NamedTuple):
    """Arguments of a Trainer, its class, its other keywords, and the smoothing of the expected loss."""

    arguments: dict[str, Any] = {}  # noqa: RUF012
    trainer: type[Trainer] = Trainer
    keywords: dict[str, Any] = {}  # noqa: RUF012
    smoothing: float = 0.0
    is_model_init: bool = False


SETTINGS = {
    "defaults": Setting(),
    "accumulation": Setting({"gradient_accumulation_steps": ACCUMULATION}),
    "smoothing": Setting(
        {"label_smoothing_factor": SMOOTHING, "gradient_accumulation_steps": ACCUMULATION}, smoothing=SMOOTHING
    ),
    "own loss": Setting({"gradient_accumulation_steps": ACCUMULATION}, OwnLoss),
    "super loss": Setting({"gradient_accumulation_steps": ACCUMULATION}, Extends),
    "super loss, smoothing": Setting(
        {"label_smoothing_factor": SMOOTHING, "gradient_accumulation_steps": ACCUMULATION}, Extends, {}, SMOOTHING
    ),
    "divided loss": Setting({"gradient_accumulation_steps": ACCUMULATION}, Divides),
    "loss function": Setting({"gradient_accumulation_steps": ACCUMULATION}, keywords={"compute_loss_func": of_caller}),
    "mean function": Setting(
        {"gradient_accumulation_steps": ACCUMULATION}, keywords={"compute_loss_func": mean_of_caller}
    ),
    "model_init": Setting({"gradient_accumulation_steps": ACCUMULATION}, is_model_init=True),
    "no average": Setting({"average_tokens_across_devices": False, "gradient_accumulation_steps": ACCUMULATION}),
    "checkpointing": Setting({"gradient_checkpointing": True}),
    "neftune": Setting({"neftune_noise_alpha": 5.0}),
    "counts": Setting({"include_num_input_tokens_seen": "all"}),
    "cache": Setting({"use_cache": True}),
    "workers": Setting({"dataloader_num_workers": 2, "gradient_accumulation_steps": ACCUMULATION}),
}
MODELS = ("llama", "qwen3", "gemma3", "gemma3 with images", "llava", "gpt2", "mixtral", "plain", "declines")


class Step(NamedTuple):
    """The loss of a step and its gradient, flat."""

    loss: float
    gradient: torch.Tensor

    def difference(self, other: "Step") -> float:
        """The larger of the relative differences of loss and gradient."""
        gradient = (self.gradient - other.gradient).norm() / other.gradient.norm()
        return max(abs(self.loss - other.loss) / abs(other.loss), gradient.item())


def build_model(name: str, *, has_adapters: bool = False, dtype: torch.dtype = torch.float32) -> Any:
    """A tiny model without dropout."""
    own = {"plain": Plain, "declines": Declines}
    dropout = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0} if name == "gpt2" else {}
    model = make_model("llama" if name in own else name, **dropout).to(dtype)
    if name in own:
        model.__class__ = own[name]
    if not has_adapters:
        return model
    targets = ["c_attn"] if name == "gpt2" else ["q_proj", "v_proj"]
    return get_peft_model(model, LoraConfig(target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM"))


def train_step(
    name: str,
    setting: Setting,
    folder: Path,
    *,
    layout: str = "packed",
    has_adapters: bool = False,
    dtype: Any = torch.float32,
) -> tuple[Step, Step, float]:
    """A step of the Trainer, that of the documents alone, and the noise of the model.

    Raises:
        SamsumStreamError: the setting is refused.
    """
    model = build_model(name, has_adapters=has_adapters, dtype=dtype)
    seen: list[Any] = []

    class Recorder(TrainerCallback):
        def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
            seen.append(gradient_of(trainer.model))

    fixed = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no", "max_grad_norm": 0.0}
    arguments = TrainingArguments(str(folder), max_steps=1, logging_steps=1, **fixed, **setting.arguments)
    model_or_init = (
        {"model_init": lambda: copy.deepcopy(model)} if setting.is_model_init else {"model": copy.deepcopy(model)}
    )
    trainer = setting.trainer(args=arguments, callbacks=[Recorder()], **model_or_init, **setting.keywords)
    trainer.remove_callback(PrinterCallback)
    stream_of(layout).attach(trainer)
    batches: list[Any] = []
    step = trainer.training_step

    def recorded(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        batches.append(dict(inputs))
        return step(model, inputs, *args, **kwargs)

    trainer.training_step = recorded
    trainer.train()
    [loss] = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    assert len(batches) == arguments.gradient_accumulation_steps
    documents = [document for batch in batches for document in documents_of(batch)]
    alone, other = (of_documents(model, documents, setting.smoothing, number) for number in (0, 3))
    return Step(loss, seen[0]), alone, alone.difference(other)


def stream_of(layout: str) -> Any:
    method, _, side = layout.partition(" ")
    kwargs = {"padding_side": side} if side else {}
    return make_stream(make_rows(60), lanes=2, collator_config={"method": method, "kwargs": kwargs})


def documents_of(batch: dict[str, Any]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The ids and the labels of each document of a batch."""
    for row, labels in enumerate(batch["labels"]):
        ids = batch["input_ids"][row]
        if "position_ids" in batch:
            starts = (batch["position_ids"][row] == 0).nonzero()[:, 0].tolist()
            cuts = list(zip(starts, [*starts[1:], len(ids)], strict=True))
        else:
            real = batch["attention_mask"][row].nonzero()[:, 0].tolist()
            cuts = [(real[0], real[-1] + 1)]
        for start, end in cuts:
            if (labels[start:end] != -100).any():
                yield ids[start:end], labels[start:end]


def of_documents(model: Any, documents: list[Any], smoothing: float, num_fillers: int) -> Step:
    """The documents one at a time; `num_fillers` tokens after each change its rounding only."""
    model = copy.deepcopy(model).train()
    model.zero_grad()
    for module in model.modules():
        if getattr(getattr(module, "config", None), "use_cache", None):
            module.config.use_cache = False
    number, total = sum(int((labels[1:] != -100).sum()) for _, labels in documents), 0.0
    for ids, labels in documents:
        room = max(0, min(num_fillers, MOST - len(ids)))
        ids = torch.cat([ids, ids[:1].expand(room)])[None].expand(1 + (room > 0), -1)
        logits = model(input_ids=ids).logits[:1, : len(labels)]
        loss = loss_sum(logits, labels[None], smoothing=smoothing) / number
        loss.backward()
        total += loss.item()
    return Step(total, gradient_of(model))


MOST = 32
"""The positions of the smallest model."""


def gradient_of(model: nn.Module) -> torch.Tensor:
    """The gradient of all trained parameters, zeros for those that text does not reach."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    return torch.cat(
        [(torch.zeros_like(weight) if weight.grad is None else weight.grad).float().flatten() for weight in trained]
    )


def outcome(run: Callable[[], tuple[Step, Step, float]], *, dtype: torch.dtype) -> str:
    """`equal`, or `refused: ...`, or the difference."""
    try:
        step, alone, noise = run()
    except SamsumStreamError as error:
        return f"refused: {error}"
    allowed = 1e-5 if dtype == torch.float32 else max(0.01, 3 * noise)
    difference = step.difference(alone)
    return "equal" if difference <= allowed else f"DIFFERENT: {difference:.1e} of {allowed:.1e}"
