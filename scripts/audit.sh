#!/usr/bin/env bash
# Checks the wheel that wheel.sh built for .venv's Python, and the object files it was made of.
. "$(dirname "$0")/common.sh"
need_setup
need readelf nm objdump
version=$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
wheel=$(ls -t dist/*-cp"${version/./}"-*.whl | head -n 1)
check_wheels "$wheel"
python tools/audit_kernels.py "build/wheel-$version"
if have auditwheel; then auditwheel show "$wheel"; else echo "skipped: auditwheel is not installed"; fi
