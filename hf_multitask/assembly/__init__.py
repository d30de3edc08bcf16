"""From the settings of a recipe to rows, models, folders and trainers."""
