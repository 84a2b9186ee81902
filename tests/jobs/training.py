"""A plain training loop, which tests kill: `torchrun -m tests.jobs.training FOLDER --until M`.

Every rank writes a line for each batch that it trained on, and saves every few steps. It stops before global batch
`until`.
"""

import argparse
import hashlib
import os
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed

from samsum_stream import SFTStream
from tests.resuming import stream_of

SAVE_EVERY = 2


def job_stream() -> SFTStream:
    return stream_of(epochs=None, prompt_config={"kwargs": {"response_template": "say {text}"}})


def digest(batch: dict[str, Any]) -> str:
    """A hash of the tensors of a batch."""
    content = hashlib.sha256()
    for key in sorted(batch):
        content.update(key.encode() + batch[key].numpy().tobytes())
    return content.hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--until", type=int, required=True)
    parser.add_argument("--name", required=True, help="prefix of the files of this run")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    torch.distributed.init_process_group("gloo")
    loader = job_stream().loader(num_workers=arguments.workers)
    loader.load(arguments.folder / "states", missing_ok=True)
    with (arguments.folder / f"{arguments.name}-rank-{os.environ['RANK']}.log").open("w") as log:
        print("start", loader.state_dict()["batch"], os.getpid(), file=log, flush=True)
        for step, batch in enumerate(loader):
            if loader.last_batch_info.batch >= arguments.until:
                break
            torch.distributed.all_reduce(torch.ones(1))
            time.sleep(0.002)
            print(loader.last_batch_info.batch, digest(batch), file=log, flush=True)
            if step % SAVE_EVERY == 0:
                loader.save(arguments.folder / "states")
        else:
            raise AssertionError("an endless stream ended")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
