"""jobhost: write handlers in any language, run `jobhost serve`, isolate untrusted handlers."""

__version__ = "0.1.0"
