"""Training. Needs the extra `train`.

Each kind of training has a folder: `base`, `sft`, `rl`, `router` and `small`. Its `Trainer` has one
shape: `Trainer(recipe, run_dir, on_metrics).train()` resumes the run in `run_dir` if there is one,
and returns a `TrainingResult`.
"""
