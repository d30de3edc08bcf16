"""PEFT methods of this package's own."""
