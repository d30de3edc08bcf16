"""First stages: what a trunk learns before it meets the tasks, on sentence-transformers' own trainer."""
