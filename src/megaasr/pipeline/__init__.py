"""Pipelines: recipes from text to report as one resumable chain of the package's commands."""
