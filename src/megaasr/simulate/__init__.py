"""Simulated bad recordings: primitives make conditions, conditions make scenarios.

`simulator.Simulator` draws what happens to a clip and makes it happen; `corpus` builds data sets.
"""
