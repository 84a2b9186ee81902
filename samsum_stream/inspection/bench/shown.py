"""A benchmark as a table."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from samsum_stream.inspection.bench.bench import STAGES, Benchmark


def shown_benchmark(benchmark: Benchmark) -> Group:
    """A table with a row for each stage, and a footer and lines for the whole flow."""
    whole, number = benchmark.whole, benchmark.whole.num_workers
    workers = f"{number or 'no'} worker{'' if number == 1 else 's'}"
    table = Table(show_footer=True)
    table.add_column("stage", "whole")
    table.add_column("what it does", f"rows to batches, {workers}")
    table.add_column("tokens/s", f"{whole.tokens_per_second:,.0f}", justify="right")
    table.add_column("time", justify="right")
    for name, stage in benchmark.stages.items():
        numbers = (f"{stage.tokens_per_second:,.0f}", f"{stage.share:.1%}")
        table.add_row(name, STAGES[name], *numbers, style="bold" if name == benchmark.limit else "")
    worker_memory = f", and {whole.worker_memory_mb:,.0f} MB of {workers}" if number else ""
    lines = {
        "limit": benchmark.limit,
        "backend": benchmark.backend,
        "rows/s": f"{whole.rows_per_second:,.0f}",
        "build": f"{benchmark.seconds_to_build:.3f} s",
        "first batch": f"{whole.seconds_to_first_batch:.3f} s",
        "efficiency": f"{whole.efficiency:.2%}",
        "memory": f"{benchmark.memory_mb:,.0f} MB above the start{worker_memory}",
    }
    return Group(table, *(Text(f"{name:12} {line}") for name, line in lines.items()))
