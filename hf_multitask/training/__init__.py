"""Parts of the trainer: hosts of aggregators and regularizers, and how a run starts, stops and goes on."""
