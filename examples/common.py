"""Shared code of the examples: the stream, a tiny model, and their output."""

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

# Dialogues contain brackets and colons. With its defaults, rich reads them as markup and emoji.
console = Console(markup=False, emoji=False, highlight=False)


def parser(description: str, *, max_steps: int = 200, save_steps: int = 100, has_resume: bool = True) -> ArgumentParser:
    """The command-line arguments of all training scripts."""
    parser = ArgumentParser(description=description)
    parser.add_argument("--max-steps", type=int, default=max_steps, help="optimizer steps (default: %(default)s)")
    parser.add_argument(
        "--save-steps", type=int, default=save_steps, help="steps between checkpoints (default: %(default)s)"
    )
    if has_resume:
        parser.add_argument("--resume", action="store_true", help="resume from the newest checkpoint")
    return parser


def output_folder(name: str, *, resume: bool) -> Path:
    """The folder `outputs/NAME`. It is emptied, unless the run resumes."""
    folder = ROOT / "outputs" / name
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    return folder


def open_stream(name: str = "quickstart.yaml", *, rows: Any = None, **changes: Any) -> SFTStream:
    """The stream of a file in `configs/`; its paths are relative to the top of the repository."""
    os.chdir(ROOT)
    path = Path("configs") / name
    if rows is None and not changes:
        return SFTStream.from_yaml(path)
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    return SFTStream.from_config({**config, **changes}, rows=rows)


def tiny_llama(stream: SFTStream, **changes: int) -> LlamaForCausalLM:
    """A Llama with 1.4 million random weights for the packs of the stream; every call gives the same weights.

    `changes` are the sizes that differ.
    """
    set_seed(0)
    tokenizer = stream.tokenizer
    sizes = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        **{**sizes, **changes},
        max_position_embeddings=stream.collator.max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        use_cache=False,
    )
    return LlamaForCausalLM(config)


def show_example(stream: SFTStream) -> None:
    """Print the first example, with its trained tokens marked."""
    heading("One example")
    console.print(stream.preview(1))


class LossLog:
    """Prints the mean loss of each tenth of the steps, and stores it in `losses`."""

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
    """Print after which step a run resumes."""
    console.print(f"resuming after step {step}\n")


def show_speed(stream: SFTStream, *, steps: int, seconds: float, batches_per_step: int = 1) -> None:
    """Print the speed of training, the packing efficiency and the share of trained tokens."""
    stats = stream.stats
    # The stream may have delivered more batches than were trained. Therefore the tokens of a step are an average.
    tokens = stats.tokens / stats.packs * stream.config.batch_size * batches_per_step * steps
    console.print(f"\n{steps} steps in {seconds:.0f} s, {tokens / seconds:,.0f} tokens per second")
    console.print(f"packing efficiency {stats.efficiency:.2%} (tokens in a pack / room in a pack)")
    console.print(
        f"{stats.trained_tokens / stats.tokens:.0%} of the tokens are trained, the model only reads the others"
    )


def show_summary(stream: SFTStream, model: LlamaForCausalLM) -> None:
    """Print the summary that the model generates for a trained dialogue, and the reference of the data set."""
    row = first_dialogue()
    input_ids = torch.tensor([stream.inference_ids(row)], device=model.device)
    model.eval()
    output = model.generate(
        input_ids,
        attention_mask=torch.ones_like(input_ids),
        max_new_tokens=60,
        do_sample=False,
        repetition_penalty=1.2,  # without it, such a small model repeats itself
        use_cache=True,
    )
    generated = stream.tokenizer.decode(output[0, input_ids.shape[1] :], skip_special_tokens=True)
    prompt_end = "\n".join(stream.inference_prompt(row).splitlines()[-4:])
    heading("A generated summary: after a minute, the form is right, but not the content")
    console.print(Text.assemble((f"[…]\n{prompt_end}", "dim"), (generated, "bold green")))
    console.print(f"\nReference: {row['summary']}")


def require_learning(losses: list[float], *, resumed: bool = False) -> None:
    """Exit with an error unless the last loss is at least a tenth below the first; a resumed run has no first loss."""
    if not resumed and not losses[-1] < 0.9 * losses[0]:
        raise SystemExit(
            f"The loss did not decrease by a tenth: {losses[0]:.2f} at first, {losses[-1]:.2f} at the end."
        )


def heading(text: str) -> None:
    """Print a heading."""
    console.print(f"\n== {text} ==", style="bold")


def first_dialogue() -> dict[str, Any]:
    """The first row of the data set, with the columns `dialogue` and `summary`."""
    with DIALOGUES.open(encoding="utf-8") as lines:
        return json.loads(next(lines))
