"""Data sets of degraded speech: planned, built in shards by several processes, and exported.

`recipe` describes a data set and `plan` its clips; `clips` makes a clip, `shards` reads and writes
the Parquet files, `shard_worker` makes a shard, and `worker_processes` runs the workers. `folder`
claims the output folder for one recipe, and `build` combines all of these. `listing`, `summary` and
`card` describe the result; `webdataset` exports it.
"""
