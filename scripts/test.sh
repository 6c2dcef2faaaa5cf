#!/usr/bin/env bash
# C++ tests with the replay of the fuzzers' corpora, then the Python tests; arguments go to pytest.
# Both run what setup.sh has built and installed, never the source tree's modules.
. "$(dirname "$0")/common.sh"
need_setup
status=0
ctest --test-dir "$BUILD" --output-on-failure --timeout 600 || status=1
python -m pytest "$@" || status=1
exit $status
