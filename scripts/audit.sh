#!/usr/bin/env bash
# Checks the wheel that wheel.sh built for .venv's Python, and the object files it was made of.
. "$(dirname "$0")/common.sh"
need_setup
need readelf nm objdump
version=$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
wheel=$(ls -t dist/*-cp"${version/./}"-*.whl | head -n 1)
python wheels/check_wheel.py "$wheel"
python wheels/check_objects.py "build/wheel-$version"
python -m auditwheel show "$wheel"
