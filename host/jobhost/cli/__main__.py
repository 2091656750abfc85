"""`python -m jobhost.cli`: the command where it is not installed."""

from .main import main

main()
