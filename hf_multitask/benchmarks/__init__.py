"""What things cost, as ratios measured in turns on the same batches; `recipes/benchmark.py` prints them."""
