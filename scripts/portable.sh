#!/usr/bin/env bash
# Builds a portable wheel for this machine's architecture and .venv's Python with zig, checks it, and tests it in a fresh environment.
. "$(dirname "$0")/common.sh"
need_setup
need readelf nm objdump
[ "$(uname -s)" = Linux ] || skip "portable wheels are built on Linux"
pip install --quiet -r wheels/requirements.txt || skip "the packages of wheels/requirements.txt cannot be had"
dist=dist/portable
rm -rf $dist
python wheels/build.py --target "manylinux_2_17_$(uname -m)" --dist $dist
check_wheels $dist/*.whl
python tools/audit_kernels.py "build/wheels/manylinux_2_17_$(uname -m)"
python wheels/try_wheel.py $dist/*.whl
