"""How code is run: in the host, in a child process, in a pool of children. Knows nothing of queues or configuration files.

The host hands in what a run may ask for (`services.Services`) and gets a `Runtime` for each bundle.
"""
