"""What surrounds an evaluation: answers kept and compared, what stands beside a model, what is handed in."""
