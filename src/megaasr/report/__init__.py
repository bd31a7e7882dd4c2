"""Documents made from result files: so far the model card."""
