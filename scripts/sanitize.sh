#!/usr/bin/env bash
# Runs the tests under sanitizers: `sanitize.sh asan` (addresses and undefined behaviour; C++ and Python tests) or `sanitize.sh tsan`
# (data races; C++ tests). Arguments after that go to pytest.
. "$(dirname "$0")/common.sh"
need_setup
preset=${1:?usage: sanitize.sh asan|tsan [pytest arguments]}
shift
case $preset in asan) library=libasan.so ;; tsan) library=libtsan.so ;; *) fail "no such preset: $preset" ;; esac
compiler=${CXX:-c++}
runtime=$("$compiler" -print-file-name=$library)
[ -e "$runtime" ] || skip "$library, the sanitizer's run-time library, is not installed"

if [ "$preset" = tsan ]; then
    cmake --preset tsan
    cmake --build --preset tsan
    # ThreadSanitizer needs the memory layout that it was built for, so addresses must not be random.
    fixed=(setarch "$(uname -m)" --addr-no-randomize)
    "${fixed[@]}" true 2>/dev/null || fixed=()
    TSAN_OPTIONS=halt_on_error=1 "${fixed[@]}" ctest --preset tsan --exclude-regex 'replay_|test_kernels|test_memory'
    exit
fi

cmake --preset asan -DSAFETYCLF_PYTHON=ON -DPython_EXECUTABLE="$VENV/bin/python" -Dpybind11_DIR="$(python -m pybind11 --cmakedir)" \
    -DSKBUILD_PROJECT_VERSION_FULL="$(python -c 'import importlib.metadata as m; print(m.version("safetyclf"))')"
cmake --build --preset asan
status=0
UBSAN_OPTIONS=print_stacktrace=1 ctest --preset asan || status=1

site=$ROOT/build/asan/site
rm -rf "$site"
cmake --install build/asan --component python --prefix "$site"
cp -r python/safetyclf "$site"
# Python itself is not instrumented: the run-time libraries must be there before it, and what it leaks at exit is its own.
LD_PRELOAD="$runtime $("$compiler" -print-file-name=libstdc++.so)" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
    PYTHONPATH=$site python -m pytest -m "not slow" "$@" || status=1
exit $status
