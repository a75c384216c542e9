"""Fine-tune a model on a task, so that there is a task vector."""
