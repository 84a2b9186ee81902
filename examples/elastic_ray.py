"""Trains a tiny Llama on one to four machines with Ray Train; machines may come and go. It runs offline, on CPUs too.

Run `python examples/elastic_ray.py --folder SHARED_FOLDER` on a machine of a Ray cluster, or on a single machine. If a
machine is lost or added, Ray starts all ranks again, and they continue from the newest checkpoint.
"""

import elastic
import ray
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer


def main() -> None:
    """Train on as many ranks as the cluster has room for, from one to `--max-ranks`."""
    arguments = elastic.parser("Train a tiny Llama on ranks that come and go, with Ray.")
    arguments.add_argument("--address", help="a Ray cluster (default: the one of this machine, or a new one)")
    arguments.add_argument("--max-ranks", type=int, default=4)
    arguments.add_argument("--max-failures", type=int, default=100)
    arguments.add_argument("--resize-seconds", type=float, default=60, help="seconds between looks for new machines")
    options = arguments.parse_args()
    options.folder = options.folder.resolve()  # each rank has its own working directory
    options.journal = options.journal and options.journal.resolve()
    ray.init(address=options.address)
    trainer = TorchTrainer(
        lambda: elastic.train(options),
        torch_config=TorchConfig(timeout_s=options.timeout),
        scaling_config=ScalingConfig(
            num_workers=(1, options.max_ranks),
            elastic_resize_monitor_interval_s=options.resize_seconds,
            use_gpu=torch.cuda.is_available(),
        ),
        run_config=RunConfig(
            name="ray",
            storage_path=str(options.folder),
            failure_config=FailureConfig(max_failures=options.max_failures),
        ),
    )
    trainer.fit()


if __name__ == "__main__":
    main()
