#!/usr/bin/env bash
# Builds a wheel for this machine into dist/: `wheel.sh [PYTHON]`, by default with .venv's interpreter. The CMake folder of each Python
# version is kept in build/, so that a second build is quick.
. "$(dirname "$0")/common.sh"
need_setup
python=${1:-$VENV/bin/python}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$python" -m pip wheel --quiet --no-deps --wheel-dir dist --config-settings=build-dir="build/wheel-$version" .
ls -l dist/*-cp"${version/./}"-*.whl
