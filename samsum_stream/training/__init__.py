"""Everything that knows a model: the isolation check, the Trainer, evaluation, checkpoints."""
