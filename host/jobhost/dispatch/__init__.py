"""From a claimed job to its settlement: who runs what, when, and what becomes of it."""
