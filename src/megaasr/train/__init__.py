"""Training: recipes, data, loops and runs. Needs the extra `train`."""
