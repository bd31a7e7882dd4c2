"""Recipes that ship with the package: complete TOML files, one per job."""
