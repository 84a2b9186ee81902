"""Holds the rendezvous of `elastic_torchrun.py`: run `python examples/elastic_store.py` on a machine that stays.

Then every training machine may be lost. torchrun needs `--rdzv-conf is_host=0` and the address of this machine.
"""

import time
from argparse import ArgumentParser

from torch.distributed import TCPStore


def main() -> None:
    """Serve until the process is stopped."""
    parser = ArgumentParser(description="Hold the rendezvous of elastic_torchrun.py.")
    parser.add_argument("--host", default="0.0.0.0", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=29400, help="default: %(default)s; 0 takes a free port")
    options = parser.parse_args()
    store = TCPStore(options.host, options.port, is_master=True, wait_for_workers=False)
    print(f"the rendezvous is at port {store.port}", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
