"""Trains a tiny Llama on packed dialogues with Lightning's Trainer: a minute on a CPU, offline.

Run it from any folder: `python examples/train_lightning.py`. Stop it after step 100. Then
`python examples/train_lightning.py --resume` continues exactly from there.
"""

import logging
import time
import warnings
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import common
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from transformers import LlamaForCausalLM, get_cosine_schedule_with_warmup

from samsum_stream import SFTStream, merge_states


def main() -> None:
    """Train from a YAML file, and generate a summary."""
    options = common.parser("Train a tiny Llama with Lightning.").parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")  # Lightning uses deprecated functions of torch
    folder = common.output_folder("train_lightning", resume=options.resume)
    stream = common.open_stream()
    model = common.tiny_llama(stream)
    common.show_example(stream)

    common.heading("Training")
    module = Summarizer(stream, model, options)
    checkpoints = ModelCheckpoint(
        folder, "newest", every_n_train_steps=options.save_steps, enable_version_counter=False
    )
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=options.max_steps,
        gradient_clip_val=1.0,
        callbacks=[checkpoints],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    newest = folder / "newest.ckpt"
    trainer.fit(module, ckpt_path=newest if options.resume and newest.exists() else None)
    seconds = time.perf_counter() - module.start
    common.show_speed(stream, steps=options.max_steps - module.first_step, seconds=seconds)
    common.show_summary(stream, model)
    common.require_learning(module.progress.losses, resumed=options.resume)


class TrainedBatches:
    """The loader for Lightning: each batch comes with the number of the next batch.

    Lightning stores the state of a data loader in its checkpoints. But it fetches one batch ahead if the loader has no
    length, and only rank 0 writes. Therefore the state here is that of the trained batches, of all ranks.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.next_batch = loader.batch  # set by the training step

    def __iter__(self) -> Iterator[tuple[dict[str, Any], int]]:
        return ((batch, self.loader.batch) for batch in self.loader)

    def state_dict(self) -> dict[str, Any]:
        states = [self.loader.state_dict(batch=self.next_batch)]
        if torch.distributed.is_initialized():
            states *= torch.distributed.get_world_size()
            torch.distributed.all_gather_object(states, states[0])
        return merge_states(states)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loader.load_state_dict(state)
        self.next_batch = self.loader.batch


class Summarizer(LightningModule):
    """The model, its batches and its optimizer."""

    def __init__(self, stream: SFTStream, model: LlamaForCausalLM, options: Namespace) -> None:
        super().__init__()
        self.stream, self.model, self.max_steps = stream, model, options.max_steps
        self.progress = common.LossLog(max_steps=options.max_steps)

    def train_dataloader(self) -> TrainedBatches:
        # The loader measures the model: documents of a batch do not see each other.
        self.batches = TrainedBatches(self.stream.loader(model=self.model))
        return self.batches

    def training_step(self, batch: tuple[dict[str, Any], int], batch_idx: int) -> torch.Tensor:
        tensors, self.batches.next_batch = batch
        loss = self.model(**tensors).loss
        self.progress.add(self.global_step + 1, loss.item())
        return loss

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(self.parameters(), lr=common.LEARNING_RATE)
        scheduler = get_cosine_schedule_with_warmup(optimizer, self.max_steps // 10, self.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        self.first_step, self.start = self.global_step, time.perf_counter()
        if self.first_step:
            common.show_resume(self.first_step)


if __name__ == "__main__":
    main()
