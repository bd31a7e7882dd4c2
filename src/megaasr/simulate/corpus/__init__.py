"""Data sets of degraded speech: planned, built in shards by several processes, exported.

`recipe` says what is wanted, `plan` which clip is made of what, `clips` makes one, `shards` holds
them, `workers` runs the processes, `folder` keeps a folder to one recipe, `build` does it all;
`listing` and `summary` tell what was made, `webdataset` exports it.
"""
