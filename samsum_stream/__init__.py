"""Streams supervised fine-tuning data into PyTorch: rows in, packed and masked batches out, nothing written to disk.

Only the names in `__all__` are public. Everything else, including every folder, is private and can change at any time.
A folder imports only from the folders above it in this list:

    errors/         exceptions, and helpers for their messages
    values/         the data types that the stages exchange: rows, examples, batches, counts
    config/         YAML to frozen models
    sources/        ──rows──▶
    prompts/        ──segments──▶
    tokenization/   ──examples──▶
    batching/       ──packs, tensors──▶
    lanes/          the global order: pure arithmetic
    pipeline/       the whole flow for the lanes of one worker
    showing/        values as text, HTML and pictures
    loader/         batches across processes: workers, epochs, state
    training/       everything that knows a model: isolation check, Trainer
    stream/         SFTStream, the public facade
    inspection/     check, stats, report, bench, trace
    cli/            the command line
"""

from samsum_stream.config import StreamConfig, load_config, parse_config
from samsum_stream.errors import (
    BackendMismatchError,
    ConfigError,
    ContaminationError,
    RowError,
    SamsumStreamError,
    SourceError,
    StateError,
    TokenizerError,
    TopologyError,
    TrustError,
    WorkerError,
)
from samsum_stream.loader.state.state import merge_states
from samsum_stream.prompts import (
    ChatMLFormat,
    ChatTemplate,
    DefaultPrompt,
    DollyFormat,
    FewShotQA,
    Llama2Format,
    Message,
    Prompt,
    PromptFormat,
    RedpajamaFormat,
    Role,
    StandaloneQuestion,
    TextSummarization,
    TogetherLlama2Format,
    UserAssistantFormat,
    VicunaFormat,
    ZeroShotQA,
)
from samsum_stream.stream.stream import SFTStream
from samsum_stream.training.checkpoints.newest import last_complete_checkpoint
from samsum_stream.values.batches import Pack
from samsum_stream.values.examples import IGNORE_INDEX, Example
from samsum_stream.values.rows import RowPosition

__all__ = [
    "IGNORE_INDEX",
    "BackendMismatchError",
    "ChatMLFormat",
    "ChatTemplate",
    "ConfigError",
    "ContaminationError",
    "DefaultPrompt",
    "DollyFormat",
    "Example",
    "FewShotQA",
    "Llama2Format",
    "Message",
    "Pack",
    "Prompt",
    "PromptFormat",
    "RedpajamaFormat",
    "Role",
    "RowError",
    "RowPosition",
    "SFTStream",
    "SamsumStreamError",
    "SourceError",
    "StandaloneQuestion",
    "StateError",
    "StreamConfig",
    "TextSummarization",
    "TogetherLlama2Format",
    "TokenizerError",
    "TopologyError",
    "TrustError",
    "UserAssistantFormat",
    "VicunaFormat",
    "WorkerError",
    "ZeroShotQA",
    "last_complete_checkpoint",
    "load_config",
    "merge_states",
    "parse_config",
]
