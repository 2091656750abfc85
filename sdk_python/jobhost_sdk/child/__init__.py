"""The child: the process that runs a bundle's handlers and talks to the host over the wire.

`boot` is the script the host starts; `main` reads the first frame and chooses the loop: `blocking` for bundles of
synchronous handlers, which never import asyncio, `looping` for the others. Both share `session`, what a child does with
each message, and `channel`, the bytes.
"""
