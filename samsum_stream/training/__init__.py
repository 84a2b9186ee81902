"""Code that uses a model: the isolation check, the Trainer, evaluation, checkpoints."""
