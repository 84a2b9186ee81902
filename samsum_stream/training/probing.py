"""Documents through a model, together in a batch and one at a time: log-probabilities and gradients to compare."""

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
from samsum_stream.values.arrays import Int32Array, Int64Array
from samsum_stream.values.batches import Batch, Pack
from samsum_stream.values.examples import Example
from samsum_stream.values.rows import RowPosition

NUM_PACKS = 2
"""Packs in a measured batch: the fewest with which kernels for one row are told from those for many."""

NUM_CANDIDATES, NUM_COMPARED = 16, 4
"""How many of the first trainable parameters are looked at, and of how many of them gradients are compared: one alone
may have none, as LoRA's A has at first."""

_ROWS_AT_ONCE = 1024


class Result(NamedTuple):
    """The log-probability of each token that has one before it in its document, and the gradient, both flat."""

    log_probs: torch.Tensor
    gradient: torch.Tensor


class Runs:
    """Forward and backward passes of one model, over all documents of a probe."""

    def __init__(self, model: nn.Module, parameters: Sequence[nn.Parameter]) -> None:
        self.model, self.parameters = model, parameters
        self.device = next(model.parameters()).device

    def together(self, collator: Collator, probe: Batch, **kwargs: Any) -> Result:
        """In one batch."""
        log_probs, loss = self._forward(collator.collate(probe), probe, _places(collator, probe), **kwargs)
        return Result(log_probs, self._gradient([loss]))

    def alone(self, probe: Batch) -> Result:
        """Each document by itself; the loss is the mean over the labels of all, as that of a batch is."""
        num_labels = probe.tokens.lengths - probe.num_masked_tokens
        found: list[torch.Tensor] = []

        def losses() -> Iterator[torch.Tensor]:
            for ids, masked, labels in zip(probe.tokens.split(), probe.num_masked_tokens, num_labels, strict=True):
                document = _batch_of([[(ids, int(masked))]])
                tensors = COLLATORS["padding_free"](pad_token_id=0, max_length=0).collate(document)
                plain = {name: tensors[name] for name in ("input_ids", "labels")}
                log_probs, loss = self._forward(plain, document, np.arange(len(ids)), use_cache=False)
                found.append(log_probs)
                yield loss * (int(labels) / int(num_labels.sum()))

        gradient = self._gradient(losses())
        return Result(torch.cat(found), gradient)

    def _forward(
        self, tensors: dict[str, Any], probe: Batch, places: Int64Array, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        sent = {name: value.to(self.device) if torch.is_tensor(value) else value for name, value in tensors.items()}
        output = self.model(**sent, **kwargs)
        return _log_probs(output.logits.detach().flatten(0, 1), probe, places), output.loss

    def _gradient(self, losses: Iterable[torch.Tensor]) -> torch.Tensor:
        """The gradient of the sum of the losses."""
        for parameter in self.parameters:
            parameter.grad = None
        for loss in losses:
            if self.parameters:
                loss.backward()  # type: ignore[no-untyped-call]
        grads = [torch.zeros_like(each) if each.grad is None else each.grad for each in self.parameters]
        return torch.cat([torch.zeros(1), *(grad.float().flatten().cpu() for grad in grads)])


def make_probes(model: nn.Module, packs: Sequence[Pack], *, max_length: int) -> list[Batch]:
    """Two packs of the stream, and one that holds a short document and one as long as fits behind it."""
    packs = [pack for pack in packs if pack.examples][:NUM_PACKS]
    documents = [(example.input_ids, example.num_prompt_tokens) for pack in packs for example in pack.examples]
    short, tokens = min((ids for ids, _ in documents), key=len), np.concatenate([ids for ids, _ in documents])
    probes = [Batch.of_packs(packs)]
    if (length := min(max_length - len(short), _max_positions(model))) > 1:
        probes.append(_batch_of([[(short, 0), (np.resize(tokens, length), 0)]]))
    return probes


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[list[nn.Parameter]]:
    """The model in evaluation mode, with gradients for the few parameters that are compared; then as it was."""
    modes = {module: module.training for module in model.modules()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    grads = [(parameter, parameter.grad) for parameter in trained]
    # Small ones near the input: their gradients pass through the whole model and cost next to nothing.
    compared = sorted(trained[:NUM_CANDIDATES], key=torch.numel)[:NUM_COMPARED]
    try:
        model.eval()
        for parameter in trained:
            parameter.requires_grad_(any(parameter is each for each in compared))
        with torch.enable_grad():
            yield compared
    finally:
        for parameter, grad in grads:
            parameter.requires_grad_().grad = grad
        for module, mode in modes.items():
            module.training = mode


def computed_dtype(model: nn.Module) -> torch.dtype:
    """The dtype that the model computes in: that of autocast where it is on, else of its weights."""
    device = next(model.parameters()).device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    dtype: torch.dtype = model.dtype  # type: ignore[assignment]  # as transformers finds it, also where quantized
    return dtype


def _places(collator: Collator, probe: Batch) -> Int64Array:
    """The flat place at which each token of the probe stands in the collator's batch, shape `[sum T]`."""
    collator = copy.copy(collator)
    collator.pad_token_id = -1
    if isinstance(collator, Packed):
        collator.attention = "position_ids"  # the forms differ in shape, not in the order of tokens
    numbers = np.arange(len(probe.tokens.ids), dtype=np.int32)
    numbered = collator.collate(replace(probe, tokens=probe.tokens._replace(ids=numbers)))["input_ids"]
    return np.argsort(numbered.flatten().numpy(), kind="stable")[-len(numbers) :]


def _log_probs(logits: torch.Tensor, probe: Batch, places: Int64Array) -> torch.Tensor:
    """Of each token given those before it in its document; `logits` is `[tokens of the batch, vocabulary]`."""
    is_last = np.zeros(len(places), np.bool_)
    is_last[probe.tokens.offsets[1:] - 1] = True
    sources = torch.from_numpy(places[~is_last])
    targets = torch.from_numpy(probe.tokens.ids[1:][~is_last[:-1]].astype(np.int64))
    found = []
    for at, target in zip(torch.split(sources, _ROWS_AT_ONCE), torch.split(targets, _ROWS_AT_ONCE), strict=True):
        rows = logits[at.to(logits.device)].float()
        found.append((rows.gather(1, target.to(rows.device)[:, None])[:, 0] - rows.logsumexp(1)).cpu())
    return torch.cat(found)


def _batch_of(packs: Sequence[Sequence[tuple[Int32Array, int]]]) -> Batch:
    """A batch of documents, each its ids and the length of its prompt."""
    nowhere = RowPosition("", "", 0, 0)
    return Batch.of_packs([Pack(tuple(Example(*document, nowhere) for document in pack)) for pack in packs])


def _max_positions(model: nn.Module) -> int:
    config: Any = model.config
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    return getattr(config, "max_position_embeddings", None) or sys.maxsize
