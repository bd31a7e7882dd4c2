"""Families of built-in noises: generators with random parameters, one family a category."""
