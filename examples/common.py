"""What the examples share: the stream, a tiny model, and what they show of them."""

import json
import os
import shutil
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.text import Text
from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from samsum_stream import SFTStream

ROOT = Path(__file__).resolve().parents[1]
DIALOGUES = ROOT / "examples" / "data" / "dialogues.jsonl"
LEARNING_RATE = 3e-3

# Dialogues contain brackets and colons, which rich would otherwise read as markup and emoji.
console = Console(markup=False, emoji=False, highlight=False)


def parser(description: str, *, max_steps: int = 200, save_steps: int = 100) -> ArgumentParser:
    """The arguments of all training scripts."""
    parser = ArgumentParser(description=description)
    parser.add_argument("--max-steps", type=int, default=max_steps, help="optimizer steps (default: %(default)s)")
    parser.add_argument(
        "--save-steps", type=int, default=save_steps, help="steps between checkpoints (default: %(default)s)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    return parser


def output_folder(name: str, *, resume: bool) -> Path:
    """`outputs/NAME`, without what an earlier run has left there, unless the run goes on from it."""
    folder = ROOT / "outputs" / name
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    return folder


def open_stream(*, rows: Any = None, **changes: Any) -> SFTStream:
    """The stream of `configs/quickstart.yaml`, whose paths start at the top of the repository."""
    os.chdir(ROOT)
    if rows is None and not changes:
        return SFTStream.from_yaml("configs/quickstart.yaml")
    config = yaml.safe_load(Path("configs/quickstart.yaml").read_text(encoding="utf-8"))
    return SFTStream.from_config({**config, **changes}, rows=rows)


def tiny_llama(stream: SFTStream) -> LlamaForCausalLM:
    """A Llama of 1.4 million random weights, the same ones at every call, that takes the packs of the stream."""
    set_seed(0)
    tokenizer = stream.tokenizer
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=stream.collator.max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        use_cache=False,
    )
    return LlamaForCausalLM(config)


def show_example(stream: SFTStream) -> None:
    """Print the first example: what is read only, and what is trained."""
    heading("One example")
    console.print(stream.preview(1))


class LossLog:
    """Prints the mean loss of each tenth of the steps, and keeps it in `losses`."""

    def __init__(self, *, max_steps: int) -> None:
        self.interval, self.losses = max(max_steps // 10, 1), list[float]()
        self._recent = list[float]()

    def add(self, step: int, loss: float) -> None:
        self._recent.append(loss)
        if step % self.interval == 0:
            self.losses.append(sum(self._recent) / len(self._recent))
            show_loss(step, self.losses[-1])
            self._recent.clear()


def show_loss(step: int, loss: float) -> None:
    """Print a line of the log."""
    console.print(f"step {step:4d}   loss {loss:7.4f}")


def show_resume(step: int) -> None:
    """Print where a run goes on that was saved after so many steps."""
    console.print(f"going on after step {step}\n")


def show_speed(stream: SFTStream, *, steps: int, seconds: float, batches_per_step: int = 1) -> None:
    """Print what the stream handed over, and how fast the model trained on it."""
    stats = stream.stats
    # The stream may have read ahead of the model, so the tokens of a step are an average.
    tokens = stats.tokens / stats.packs * stream.config.batch_size * batches_per_step * steps
    console.print(f"\n{steps} steps in {seconds:.0f} s, {tokens / seconds:,.0f} tokens per second")
    console.print(f"packing efficiency {stats.efficiency:.2%} (tokens in a pack / room in a pack)")
    console.print(f"{stats.trained_tokens / stats.tokens:.0%} of the tokens are trained, the others are read only")


def show_summary(stream: SFTStream, model: LlamaForCausalLM) -> None:
    """Print what the model writes for a dialogue that it was trained on, beside the summary of the data set."""
    row = first_dialogue()
    input_ids = torch.tensor([stream.inference_ids(row)], device=model.device)
    model.eval()
    output = model.generate(
        input_ids,
        attention_mask=torch.ones_like(input_ids),
        max_new_tokens=60,
        do_sample=False,
        repetition_penalty=1.2,  # a model this small goes in circles otherwise
        use_cache=True,
    )
    generated = stream.tokenizer.decode(output[0, input_ids.shape[1] :], skip_special_tokens=True)
    prompt_end = "\n".join(stream.inference_prompt(row).splitlines()[-4:])
    heading("A generated summary: a minute teaches the form, not yet the sense")
    console.print(Text.assemble((f"[…]\n{prompt_end}", "dim"), (generated, "bold green")))
    console.print(f"\nReference: {row['summary']}")


def require_learning(losses: list[float], *, resumed: bool = False) -> None:
    """Fail unless the last loss is at least a tenth below the first; a resumed run had its first one before."""
    if not resumed and not losses[-1] < 0.9 * losses[0]:
        raise SystemExit(f"The loss did not go clearly down: {losses[0]:.2f} at first, {losses[-1]:.2f} at the end.")


def heading(text: str) -> None:
    """Print a line that sets off what follows."""
    console.print(f"\n== {text} ==", style="bold")


def first_dialogue() -> dict[str, Any]:
    """The first row of the data set, with its own columns: `dialogue` and `summary`."""
    with DIALOGUES.open(encoding="utf-8") as lines:
        return json.loads(next(lines))
