"""`python -m jobhost`: the `jobhost` command where its script is not on PATH."""

from jobhost.cli.main import main

main()
