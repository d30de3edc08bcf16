"""The settings of each recipe, checked as they are read."""
