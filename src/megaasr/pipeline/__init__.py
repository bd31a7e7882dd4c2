"""A whole recipe, from text to report, as one resumable chain of the package's commands."""
