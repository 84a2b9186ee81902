"""Runs documents through a model, packed and isolated, and returns log-probabilities and gradients to compare."""

import copy
import sys
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
from samsum_stream.values.arrays import Int32Array, Int64Array
from samsum_stream.values.batches import Batch, Pack
from samsum_stream.values.examples import Example
from samsum_stream.values.rows import RowPosition

NUM_PACKS = 2
"""Packs in a measured batch. With a single pack, a model could use kernels for single rows."""

NUM_CANDIDATES, NUM_COMPARED = 16, 4
"""Of the first `NUM_CANDIDATES` trainable parameters, the gradients of `NUM_COMPARED` are compared.

A single parameter could have a zero gradient, such as the A matrix of LoRA at first.
"""

_ROWS_AT_ONCE = 1024


class ProbeResult(NamedTuple):
    """The log-probability of each token except the first of each document, and the gradient; both are flat."""

    log_probs: torch.Tensor
    gradient: torch.Tensor


class ProbeRunner:
    """Runs the documents of a probe through one model, forward and backward."""

    def __init__(self, model: nn.Module, parameters: Sequence[nn.Parameter]) -> None:
        self.model, self.parameters = model, parameters
        self.device = next(model.parameters()).device

    def packed(self, collator: Collator, probe: Batch, **kwargs: Any) -> ProbeResult:
        """Run all documents in one batch of the collator."""
        log_probs, loss = self._forward(collator.collate(probe), probe, _flat_indices(collator, probe), **kwargs)
        return ProbeResult(log_probs, self._gradient([loss]))

    def isolated(self, probe: Batch) -> ProbeResult:
        """Run each document separately; the loss is the mean over the labels of all documents, as in a batch."""
        num_labels = probe.num_trained
        log_probs_of_documents: list[torch.Tensor] = []

        def losses() -> Iterator[torch.Tensor]:
            for ids, spans, labels in zip(probe.tokens.split(), probe.spans_of_examples, num_labels, strict=True):
                document = _batch_of([[(ids, spans)]])
                tensors = COLLATORS["padding_free"](pad_token_id=0, max_length=0).collate(document)
                plain = {name: tensors[name] for name in ("input_ids", "labels")}
                log_probs, loss = self._forward(plain, document, np.arange(len(ids)), use_cache=False)
                log_probs_of_documents.append(log_probs)
                yield loss * (int(labels) / int(num_labels.sum()))

        gradient = self._gradient(losses())
        return ProbeResult(torch.cat(log_probs_of_documents), gradient)

    def _forward(
        self, tensors: dict[str, Any], probe: Batch, indices: Int64Array, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = {name: value.to(self.device) if torch.is_tensor(value) else value for name, value in tensors.items()}
        output = self.model(**inputs, **kwargs)
        return _log_probs(output.logits.detach().flatten(0, 1), probe, indices), output.loss

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
    if (length := min(max_length - len(short), _max_positions(model))) > 1:
        probes.append(_batch_of([[(short, _whole(len(short))), (np.resize(tokens, length), _whole(length))]]))
    return probes


@contextmanager
def probing_mode(model: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Evaluation mode, with gradients only for the parameters to compare; the state of the model is restored after."""
    modes = {module: module.training for module in model.modules()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    grads = [(parameter, parameter.grad) for parameter in trained]
    # Gradients of small parameters near the input pass through the whole model and cost almost nothing.
    compared = sorted(trained[:NUM_CANDIDATES], key=torch.numel)[:NUM_COMPARED]
    try:
        model.eval()
        for parameter in trained:
            parameter.requires_grad_(any(parameter is other for other in compared))
        with torch.enable_grad():
            yield compared
    finally:
        for parameter, grad in grads:
            parameter.requires_grad_().grad = grad
        for module, mode in modes.items():
            module.training = mode


def compute_dtype(model: nn.Module) -> torch.dtype:
    """The dtype in which the model computes: the autocast dtype if autocast is on, else the dtype of the weights."""
    device = next(model.parameters()).device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    dtype: torch.dtype = model.dtype  # type: ignore[assignment]  # transformers returns it for quantized models too
    return dtype


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


def _whole(length: int) -> Int32Array:
    """One span over a whole document."""
    return np.array([[0, length]], np.int32)


def _batch_of(packs: Sequence[Sequence[tuple[Int32Array, Int32Array]]]) -> Batch:
    """A batch of documents; a document is its ids and its spans."""
    nowhere = RowPosition("", "", 0, 0)
    return Batch.of_packs([Pack(tuple(Example(*document, nowhere) for document in pack)) for pack in packs])


def _max_positions(model: nn.Module) -> int:
    config: Any = model.config
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    return getattr(config, "max_position_embeddings", None) or sys.maxsize
