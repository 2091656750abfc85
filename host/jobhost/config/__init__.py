"""What `jobhost.toml`, the environment and flags say, checked once and resolved per queue and job.

`load.load` reads, `document` describes every key, `queues.queue_settings` and `policy.job_policy` answer what holds for
one queue and one job. Nothing is imported here, so that a verb that needs no configuration pays for none of it.
"""
