"""The router: a classifier that selects the base or the robust branch (`mega-asr train router`)."""
