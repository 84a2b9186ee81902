"""What a person looks at in the terminal: examples with what is trained, and what was measured of a model or stream."""

from collections.abc import Iterator

from rich.console import Group
from rich.rule import Rule
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedTokenizerBase

from samsum_stream.benching import STAGES, Benchmark
from samsum_stream.fidelity import LayoutReport, ModelReport
from samsum_stream.provenance import BatchInfo
from samsum_stream.samples import IGNORE_INDEX, Example


def shown_batch(info: BatchInfo, tokenizer: PreTrainedTokenizerBase) -> Group:
    """All examples of a batch, pack by pack, each under its position."""
    examples = [example for pack in info.packs for example in pack.examples]
    num_tokens = sum(len(example.input_ids) for example in examples)
    share = sum(map(_num_trained, examples)) / num_tokens
    title = (
        f"global batch {info.batch}, lane {info.lane}: {len(info.packs)} packs, {len(examples)} examples, "
        f"{num_tokens:,} tokens, {share:.0%} of them trained >>>like this<<<"
    )
    return Group(Text(title, "bold"), *_shown_packs(info, tokenizer))


def shown_example(example: Example, tokenizer: PreTrainedTokenizerBase) -> Text:
    """The text of an example with its mask."""
    border = len(example.input_ids) - _num_trained(example)
    prompt, response = example.input_ids[:border].tolist(), example.input_ids[border:].tolist()
    read, trained = str(tokenizer.decode(prompt)), str(tokenizer.decode(response))
    return Text.assemble((read, "dim"), ">>>", (trained, "bold green underline"), "<<<")


def shown_report(report: ModelReport) -> Group:
    """What was measured of a model, a row a layout, and what it said where it does not take one."""
    title = f"{report.model}: differences up to {report.tolerance:.0e} are rounding"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("layout", no_wrap=True)
    for name in ("log-probability", "gradient", "tokens/s"):
        table.add_column(name, justify="right")
    table.add_column("documents", no_wrap=True)
    for each in report.layouts:
        numbers = ("-",) * 3 if each.problem else _numbers_of(each)
        table.add_row(str(each.layout), *numbers, Text(each.verdict, "green" if each.is_exact else "bold red"))
    problems = [Text(f"{each.layout}: {each.problem}", "dim") for each in report.layouts if each.problem]
    return Group(table, *problems)


def shown_benchmark(found: Benchmark) -> Group:
    """What was measured of a stream, a row a stage, and the whole below them."""
    whole, number = found.whole, found.whole.num_workers
    workers = f"{number or 'no'} worker{'' if number == 1 else 's'}"
    table = Table(show_footer=True)
    table.add_column("stage", "whole")
    table.add_column("what it does", f"rows to batches, {workers}")
    table.add_column("tokens/s", f"{whole.tokens_per_second:,.0f}", justify="right")
    table.add_column("time", justify="right")
    for name, stage in found.stages.items():
        numbers = (f"{stage.tokens_per_second:,.0f}", f"{stage.share:.1%}")
        table.add_row(name, STAGES[name], *numbers, style="bold" if name == found.limit else "")
    worker_memory = f", and {whole.worker_memory_mb:,.0f} MB of {workers}" if number else ""
    lines = {
        "limit": found.limit,
        "backend": found.backend,
        "rows/s": f"{whole.rows_per_second:,.0f}",
        "build": f"{found.seconds_to_build:.3f} s",
        "first batch": f"{whole.seconds_to_first_batch:.3f} s",
        "efficiency": f"{whole.efficiency:.2%}",
        "memory": f"{found.memory_mb:,.0f} MB above the start{worker_memory}",
    }
    return Group(table, *(Text(f"{name:12} {line}") for name, line in lines.items()))


def _numbers_of(report: LayoutReport) -> tuple[str, str, str]:
    return f"{report.difference:.1e}", f"{report.gradient_difference:.1e}", f"{report.tokens_per_second:,.0f}"


def _shown_packs(info: BatchInfo, tokenizer: PreTrainedTokenizerBase) -> Iterator[Rule | Text]:
    for number, pack in enumerate(info.packs):
        yield Rule(f"pack {number}: {len(pack.examples)} examples, {pack.num_tokens:,} tokens")
        for example in pack.examples:
            counts = f"{len(example.input_ids):,} tokens, {_num_trained(example):,} trained"
            yield Text(f"\n{example.position}: {counts}", "cyan")
            yield shown_example(example, tokenizer)


def _num_trained(example: Example) -> int:
    return int((example.labels != IGNORE_INDEX).sum())
