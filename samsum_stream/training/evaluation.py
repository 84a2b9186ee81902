"""Lets a Trainer evaluate streams with `evaluate()` and `predict()`.

stream ──EvalBatches──▶ Trainer.evaluation_loop ──each batch──▶ BatchResults: the loss, and the rows for compute_metrics
"""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainingArguments

from samsum_stream.errors import ConfigError
from samsum_stream.errors.wording import shown
from samsum_stream.training.arguments import agree_on_batch_size, require_ignore_index
from samsum_stream.training.eval_batches import EvalBatches, counted_loader
from samsum_stream.training.eval_results import BatchResults
from samsum_stream.training.fitting import Fitting
from samsum_stream.training.parallelism import shards_rows
from samsum_stream.training.protocol import Stream
from samsum_stream.training.replacing import replaced


class Evaluation(TrainerCallback):
    """Replaces the methods with which a Trainer evaluates. Data that is not a stream is evaluated as before."""

    def __init__(self, trainer: Any, fitting: Fitting, *, train_stream: Stream) -> None:
        self.trainer, self._fitting, self._train_stream = trainer, fitting, train_stream
        self._eval_dataloader, self._test_dataloader = trainer.get_eval_dataloader, trainer.get_test_dataloader
        self._evaluate, self._evaluation_loop = trainer.evaluate, trainer.evaluation_loop

    def install(self) -> None:
        """Replace the methods of the Trainer."""
        self.trainer.get_eval_dataloader = self.eval_dataloader
        self.trainer.get_test_dataloader = self.test_dataloader
        self.trainer.evaluate, self.trainer.evaluation_loop = self.evaluate, self.evaluation_loop
        self.trainer.add_callback(self)

    def take(self, eval_stream: Stream | None) -> list[Stream]:
        """Give `eval_stream` to the Trainer, if there is one; returns all streams that the Trainer evaluates.

        Raises:
            ConfigError: a stream cannot be evaluated.
        """
        if eval_stream is not None:
            if not isinstance(eval_stream, Stream):
                raise ConfigError(f"attach: eval_stream must be an SFTStream; got {shown(eval_stream)}")
            self.trainer.eval_dataset = eval_stream
        for stream in self.streams:
            self._require_evaluable(stream)
        return self.streams

    @property
    def streams(self) -> list[Stream]:
        """The streams in the Trainer's `eval_dataset`."""
        return [dataset for dataset in _datasets(self.trainer.eval_dataset) if isinstance(dataset, Stream)]

    def on_train_begin(self, args: TrainingArguments, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        """Count the rows of all streams, because an error at the first evaluation would end the training."""
        if args.eval_strategy != "no" or args.eval_on_start:
            for stream in self.streams:
                self.batches(stream)

    def evaluate(self, eval_dataset: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Replaces `Trainer.evaluate`. A subclass, such as TRL's SFTTrainer, would preprocess datasets that it gets."""
        if not all(isinstance(dataset, Stream) for dataset in _datasets(eval_dataset)):
            return self._evaluate(eval_dataset, *args, **kwargs)
        with replaced(self.trainer, eval_dataset=eval_dataset):
            return self._evaluate(None, *args, **kwargs)

    def eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Replaces `Trainer.get_eval_dataloader`."""
        dataset = self.trainer.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(dataset, str):
            dataset = self.trainer.eval_dataset[dataset]
        return self.batches(dataset) if isinstance(dataset, Stream) else self._eval_dataloader(eval_dataset)

    def test_dataloader(self, test_dataset: Any) -> Any:
        """Replaces `Trainer.get_test_dataloader`."""
        is_stream = isinstance(test_dataset, Stream)
        return self.batches(test_dataset) if is_stream else self._test_dataloader(test_dataset)

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Any:
        """Replaces `Trainer.evaluation_loop`."""
        arguments = {
            "description": description,
            "prediction_loss_only": prediction_loss_only,
            "ignore_keys": ignore_keys,
            "metric_key_prefix": metric_key_prefix,
        }
        if not isinstance(dataloader, EvalBatches):
            return self._evaluation_loop(dataloader, **arguments)
        results = BatchResults(self.trainer, data_rank=dataloader.loader.ranks.rank)
        hooks = replaced(self.trainer, prediction_step=results.prediction_step, gather_function=results.gather)
        # The loss of a rank must be the mean over its own labels.
        with hooks, replaced(self.trainer.args, average_tokens_across_devices=False):
            output = self._evaluation_loop(dataloader, **arguments)
        output.metrics.update(results.loss_metric(f"{metric_key_prefix}_loss"))
        return output

    def batches(self, stream: Stream) -> EvalBatches:
        """The batches of a stream, from its beginning.

        Raises:
            ConfigError: the stream cannot be evaluated, or the ranks cannot share its rows.
        """
        self._require_evaluable(stream)
        if not self._fitting.fit(stream):  # the weights of a sharded model are in the wrapped one only
            self._fitting.fit_prepared(stream)
        # The Trainer computes steps per second from its own batch size.
        batch_size = agree_on_batch_size(stream, self.trainer.args, "per_device_eval_batch_size")
        run = stream.with_run(epochs=stream.pipeline.epochs, batch_size=batch_size)
        return EvalBatches(counted_loader(run, self.trainer))

    def _require_evaluable(self, stream: Stream) -> None:
        """Raises `ConfigError` if the Trainer cannot evaluate the stream exactly."""
        arguments, config = self.trainer.args, stream.config
        if stream is self._train_stream:
            raise ConfigError("the training stream cannot be the evaluation stream; make another stream")
        if stream.pipeline.epochs != 1:
            epochs = "null" if stream.pipeline.epochs is None else stream.pipeline.epochs
            raise ConfigError(
                f"{config.where('epochs')}: evaluation reads each row once, got {epochs}; write epochs: 1"
            )
        require_ignore_index(config)
        if shards_rows(self.trainer):
            raise ConfigError(
                "cp_size: a stream cannot be evaluated with context parallelism, because the Trainer does not join the "
                "parts of a row; leave the evaluation stream out, and evaluate the saved model with cp_size=1"
            )
        if getattr(arguments, "predict_with_generate", False):
            raise ConfigError(
                "predict_with_generate: must be false to evaluate a stream, because its batches contain the answers; "
                "set predict_with_generate=False, and generate from stream.inference_ids(row)"
            )
        if arguments.eval_use_gather_object:
            raise ConfigError(
                "eval_use_gather_object: must be false to evaluate a stream, because the rows of all ranks are "
                "gathered as tensors; set eval_use_gather_object=False"
            )
        if arguments.batch_eval_metrics and "inputs" in arguments.include_for_metrics:
            raise ConfigError(
                "include_for_metrics: with batch_eval_metrics, the Trainer gives the inputs of one rank and the "
                "predictions of all ranks; leave out inputs, or set batch_eval_metrics=False"
            )


def _datasets(given: Any) -> list[Any]:
    """The datasets that a Trainer evaluates: one, or those of a dict."""
    return list(given.values()) if isinstance(given, dict) else [given]
