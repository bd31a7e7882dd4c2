"""How long tests wait for other processes; no measure of speed, which belongs to benchmarks."""

HANGING_S = 600.0
"""After these seconds a process counts as hanging, even on a slow machine that is busy."""
