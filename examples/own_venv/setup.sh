#!/bin/sh
# Makes the virtual environment of the handlers, apart from the one that jobhost is in.
set -eu
cd "$(dirname "$0")/handlers"
"${PYTHON:-python3}" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
