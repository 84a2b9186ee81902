"""Runs documents through a model, packed and isolated, and returns log-probabilities and gradients to compare."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from samsum_stream.batching.collation import COLLATORS, Collator, Packed
from samsum_stream.batching.packing import BestFit, NoPacking
from samsum_stream.pipeline.pipeline import Pipeline
from samsum_stream.training.readiness import is_sharded, require_logits, require_loss, reshard
from samsum_stream.training.tables import position_table
from samsum_stream.values.arrays import Int32Array, Int64Array
from samsum_stream.values.batches import Batch, Pack
from samsum_stream.values.examples import IGNORE_INDEX, Example
from samsum_stream.values.rows import RowPosition

NUM_PACKS = 2
"""Packs in a measured batch. With a single pack, a model could use kernels for single rows."""

NUM_CANDIDATES, NUM_COMPARED = 16, 4
"""Of the first `NUM_CANDIDATES` trained parameters that text reaches, the gradients of `NUM_COMPARED` are compared.

Parameters that text does not reach are those of a vision tower, and the A matrices of LoRA at first.
"""

NUM_FILLERS = (5, 17)
"""Tokens after a document in the other shapes in which a document is run."""

_ROWS_AT_ONCE = 1024

_AUTOCAST_BY_ACCELERATE = "_original_forward"
"""An attribute of a model whose `forward` accelerate has put into autocast, and which stays so after the training."""


class ProbeResult(NamedTuple):
    """The log-probability of each token except the first of each document, and the gradient; both are flat."""

    log_probs: torch.Tensor
    gradient: torch.Tensor

    def difference(self, other: "ProbeResult") -> "Difference":
        """The difference from the expected result."""
        log_probs = self.log_probs - other.log_probs
        norm = other.gradient.norm().item()
        gradient = (self.gradient - other.gradient).norm().item() / norm if norm else 0.0
        return Difference(log_probs.abs().max().item() if len(log_probs) else 0.0, gradient)


class Difference(NamedTuple):
    """The largest difference of a log-probability, and the norm of the difference of the gradients, relative."""

    log_prob: float
    gradient: float


class ProbeRunner:
    """Runs the documents of a probe through one model, forward and backward.

    Args:
        model: The model.
        max_length: The most tokens of a document.
        parameters: The parameters whose gradients are compared; without parameters, nothing runs backward.
    """

    def __init__(self, model: nn.Module, *, max_length: int, parameters: Sequence[nn.Parameter] = ()) -> None:
        self.model, self.max_length, self.parameters = model, max_length, parameters
        self.device = next(model.parameters()).device

    def packed(self, collator: Collator, probe: Batch) -> ProbeResult:
        """Run all documents in one batch of the collator."""
        log_probs, loss = self._forward(collator.collate(probe), probe, _flat_indices(collator, probe))
        return ProbeResult(log_probs, self._gradient([loss]))

    def isolated(self, probe: Batch, *, num_fillers: int = 0) -> ProbeResult:
        """Run each document separately; the loss is the mean over the labels of all documents, as in a batch.

        Args:
            probe: The documents.
            num_fillers: Run each document in a batch of two rows with so many tokens after it. In a causal model,
                only the rounding changes.
        """
        num_labels = probe.num_trained
        log_probs_of_documents: list[torch.Tensor] = []

        def losses() -> Iterator[torch.Tensor]:
            for document, labels in zip(_documents(probe), num_labels, strict=True):
                tensors = COLLATORS["padding_free"](pad_token_id=0, max_length=0).collate(document)
                plain = {name: tensors[name] for name in ("input_ids", "labels")}
                if num_fillers:
                    plain = _filled(plain, min(num_fillers, self.max_length - len(document.tokens.ids)))
                log_probs, loss = self._forward(plain, document, np.arange(len(document.tokens.ids)))
                log_probs_of_documents.append(log_probs)
                yield loss * (int(labels) / int(num_labels.sum()))

        gradient = self._gradient(losses())
        return ProbeResult(torch.cat(log_probs_of_documents), gradient)

    def _forward(self, tensors: dict[str, Any], probe: Batch, indices: Int64Array) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = {name: value.to(self.device) if torch.is_tensor(value) else value for name, value in tensors.items()}
        output = self.model(**inputs)
        logits = require_logits(self.model, inputs["input_ids"], output)
        return _log_probs(logits.detach().flatten(0, 1), probe, indices), require_loss(self.model, output)

    def _gradient(self, losses: Iterable[torch.Tensor]) -> torch.Tensor:
        """The gradient of the sum of the losses."""
        for parameter in self.parameters:
            parameter.grad = None
        for loss in losses:
            if self.parameters:
                loss.backward()  # type: ignore[no-untyped-call]
        grads = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in self.parameters]
        return torch.cat([torch.zeros(1), *(grad.float().flatten().cpu() for grad in grads)])


def probe_packs(pipeline: Pipeline) -> list[Pack]:
    """The first packs of a pipeline, which are not counted. Without packing, they are packed as `best_fit` does."""
    if isinstance(pipeline.packer, NoPacking):
        pipeline = replace(pipeline, packer=BestFit(max_length=pipeline.packer.max_length, buffer_size=64))
    return replace(pipeline, num_lanes=1).peek(NUM_PACKS)[0]


def make_probes(model: nn.Module, packs: Sequence[Pack], *, max_length: int) -> list[Batch]:
    """A batch of packs of the stream, and a pack of a short document and the longest document that fits after it."""
    packs = [pack for pack in packs if pack.examples][:NUM_PACKS]
    documents = [(example.input_ids, example.spans) for pack in packs for example in pack.examples]
    short, tokens = min((ids for ids, _ in documents), key=len), np.concatenate([ids for ids, _ in documents])
    probes = [Batch.of_packs(packs)]
    if (length := min(max_length - len(short), longest_document(model, max_length=max_length))) > 1:
        probes.append(_batch_of([[(short, _whole(len(short))), (np.resize(tokens, length), _whole(length))]]))
    return probes


@contextmanager
def probing_mode(model: nn.Module, probe: Batch, *, max_length: int) -> Iterator[ProbeRunner]:
    """Evaluation mode, with gradients only for the parameters to compare; the state of the model is restored after.

    Ranks that share the weights compare log-probabilities only.

    Args:
        model: The model.
        probe: Some documents; the shortest one shows which parameters text reaches.
        max_length: The most tokens of a document.
    """
    max_length = longest_document(model, max_length=max_length)
    modes = {module: module.training for module in model.modules()}
    trained = [] if is_sharded(model) else [weight for weight in model.parameters() if weight.requires_grad]
    grads = [(parameter, parameter.grad) for parameter in trained]
    try:
        model.eval()
        with torch.set_grad_enabled(bool(trained)):
            compared = _compared(ProbeRunner(model, max_length=max_length, parameters=trained), probe)
            for parameter in trained:
                parameter.requires_grad_(any(parameter is other for other in compared))
            yield ProbeRunner(model, max_length=max_length, parameters=compared)
    finally:
        for parameter, grad in grads:
            parameter.requires_grad_().grad = grad
        for module, mode in modes.items():
            module.training = mode
        reshard(model)


def _compared(runner: ProbeRunner, probe: Batch) -> list[nn.Parameter]:
    """Small parameters near the input: their gradients pass through the whole model and cost almost nothing."""
    shortest = min(_documents(probe), key=lambda document: len(document.tokens.ids))
    reached = set[int]()

    def note(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        if parameter.grad.any():
            reached.add(id(parameter))
        parameter.grad = None  # at most one gradient is in memory

    trained = runner.parameters
    hooks = [weight.register_post_accumulate_grad_hook(note) for weight in trained]  # type: ignore[no-untyped-call]
    try:
        runner.isolated(shortest)
    finally:
        for hook in hooks:
            hook.remove()
    candidates = [parameter for parameter in trained if id(parameter) in reached][:NUM_CANDIDATES]
    return sorted(candidates, key=torch.numel)[:NUM_COMPARED]


def longest_document(model: nn.Module, *, max_length: int) -> int:
    """The most tokens of a document that a stream can give and the model can run."""
    return min(max_length, position_table(model) or max_length)


def compute_dtype(model: nn.Module) -> torch.dtype:
    """The dtype in which the model computes: the autocast dtype if autocast is on, else the dtype of the weights."""
    device = next(model.parameters()).device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    if _AUTOCAST_BY_ACCELERATE in vars(model):
        return _dtype_inside(model)
    dtype: torch.dtype = model.dtype  # type: ignore[assignment]  # transformers returns it for quantized models too
    return dtype


@torch.no_grad()
def _dtype_inside(model: nn.Module) -> torch.dtype:
    """The coarsest dtype of what modules return, in a model whose `forward` turns autocast on."""
    dtypes = {torch.float32}

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if torch.is_tensor(output) and output.is_floating_point():
            dtypes.add(output.dtype)

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        model(input_ids=torch.zeros(1, 2, dtype=torch.long, device=next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
        reshard(model)
    return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)


def _flat_indices(collator: Collator, probe: Batch) -> Int64Array:
    """The flat index of each token of the probe in the collator's batch, shape `[sum T]`."""
    collator = copy.copy(collator)
    collator.pad_token_id = -1
    if isinstance(collator, Packed):
        # The forms of attention differ in shape, not in the order of tokens.
        collator = collator.with_attention("position_ids", dtype=collator.dtype)
    numbers = np.arange(len(probe.tokens.ids), dtype=np.int32)
    numbered = collator.collate(probe.with_ids(numbers))["input_ids"]
    return np.argsort(numbered.flatten().numpy(), kind="stable")[-len(numbers) :]


def _log_probs(logits: torch.Tensor, probe: Batch, indices: Int64Array) -> torch.Tensor:
    """Log-probability of each token given the earlier tokens of its document; `logits` is `[tokens, vocabulary]`."""
    is_last = np.zeros(len(indices), np.bool_)
    is_last[probe.tokens.offsets[1:] - 1] = True
    sources = torch.from_numpy(indices[~is_last])
    targets = torch.from_numpy(probe.tokens.ids[1:][~is_last[:-1]].astype(np.int64))
    log_probs = []
    for source, target in zip(torch.split(sources, _ROWS_AT_ONCE), torch.split(targets, _ROWS_AT_ONCE), strict=True):
        rows = logits[source.to(logits.device)].float()
        log_probs.append((rows.gather(1, target.to(rows.device)[:, None])[:, 0] - rows.logsumexp(1)).cpu())
    return torch.cat(log_probs)


def _documents(probe: Batch) -> Iterator[Batch]:
    """Each document of a probe, as a batch."""
    for ids, spans in zip(probe.tokens.split(), probe.spans_of_examples, strict=True):
        yield _batch_of([[(ids, spans)]])


def _filled(tensors: dict[str, torch.Tensor], num_fillers: int) -> dict[str, torch.Tensor]:
    """Two rows of a document with tokens after it that are not trained."""
    ids, labels = tensors["input_ids"], tensors["labels"]
    fillers = ids[:, :1].expand(1, max(0, num_fillers))
    row = torch.cat([ids, fillers], 1)
    trained = torch.cat([labels, torch.full_like(fillers, IGNORE_INDEX)], 1)
    return {"input_ids": torch.cat([row, row]), "labels": torch.cat([trained, torch.full_like(trained, IGNORE_INDEX)])}


def _whole(length: int) -> Int32Array:
    """One span over a whole document."""
    return np.array([[0, length]], np.int32)


def _batch_of(packs: Sequence[Sequence[tuple[Int32Array, Int32Array]]]) -> Batch:
    """A batch of documents; a document is its ids and its spans."""
    nowhere = RowPosition("", "", 0, 0)
    return Batch.of_packs([Pack(tuple(Example(*document, nowhere) for document in pack)) for pack in packs])
