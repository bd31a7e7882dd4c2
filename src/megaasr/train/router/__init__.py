"""The router: a classifier that chooses the base or the robust branch for a clip."""
