"""Trains a tiny Llama on one to four machines with torchrun; machines may come and go. It runs offline, on CPUs too.

Run this on each machine, with the address of a machine that stays:

    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
    torchrun --nnodes=1:4 --nproc-per-node=1 --max-restarts=100 --rdzv-backend=c10d --rdzv-endpoint=HOST:29400 \
        --rdzv-id=elastic examples/elastic_torchrun.py --folder SHARED_FOLDER

If a rank ends, or a machine leaves or joins, torchrun starts all ranks again, and they continue from the newest
checkpoint. On one machine, `--standalone` replaces the three options of the rendezvous.
"""

import os
from datetime import timedelta

import elastic
import torch
import torch.distributed as dist


def main() -> None:
    """Join the process group of torchrun, and train."""
    options = elastic.parser("Train a tiny Llama on ranks that come and go.").parse_args()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # A machine may be lost before its rank has joined. The timeout ends the ranks that wait for it.
    dist.init_process_group(timeout=timedelta(seconds=options.timeout))
    elastic.train(options)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
