"""Speed and memory beside what people use otherwise: `python -m tests.benchmarks [NAME…] [--json FILE] [--quick]`.

Absolute figures drift by up to two times between runs of one machine. So each goal is a ratio, its two sides are measured in turn within
one run, in processes of their own, and the table shows medians.
"""
