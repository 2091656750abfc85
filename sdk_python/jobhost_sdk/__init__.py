"""What a handler sees of jobhost, and the child that runs it. Standard library and msgpack only."""

__version__ = "0.1.0"
