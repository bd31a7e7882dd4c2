"""Measure systems on test sets: predictions, error rates, intervals, comparisons, routing.

The way through a benchmark: `systems.parse_systems` and `test_set.read_test_set`, then
`benchmark.run_systems` (predictions) and `benchmark.score_systems` (a `result.Result`).
"""
