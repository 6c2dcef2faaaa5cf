#!/usr/bin/env bash
# Builds a wheel with each Python of 3.10 to 3.13 found here, installs it into a fresh environment and tests it outside the source tree.
. "$(dirname "$0")/common.sh"
need_setup
outside=$(mktemp -d)
trap 'rm -rf "$outside"' EXIT
cp wheels/test_installed.py tests/data/golden.json examples/messages.txt "$outside"
for version in 3.10 3.11 3.12 3.13; do
    python=$(find_python "$version") || { echo "skipped: Python $version is not installed"; continue; }
    bash scripts/wheel.sh "$python"
    "$python" -m venv "$outside/$version"
    (
        cd "$outside"
        "$version/bin/pip" install --quiet "$ROOT"/dist/safetyclf-*-cp"${version/./}"-*.whl
        "$version/bin/python" test_installed.py golden.json messages.txt
    )
done
