#!/bin/sh
# Builds the kernel test for x86-64 and aarch64 and runs it on emulated CPUs, asserting which instruction set dispatch chooses on each.
# The test compares all results with one constant, so success means that all architectures give the same bits. For aarch64 the C library
# is built as well, and its scores are compared with the golden ones.
# Usage: tests/cross/run_kernels.sh BUILD_FOLDER. Parts whose tools are absent are reported as skipped;
# exit status 77 when all are.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:?usage: run_kernels.sh BUILD_FOLDER}

# configure_and_build FOLDER [cmake options]
configure_and_build() {
    folder=$1
    shift
    cmake -S "$root" -B "$folder" -DSAFETYCLF_PYTHON=OFF -DSAFETYCLF_TESTING=ON -DCMAKE_EXE_LINKER_FLAGS=-static "$@" >"$folder.log" 2>&1 &&
        cmake --build "$folder" --target test_kernels -j 2 >>"$folder.log" 2>&1 || {
        cat "$folder.log"
        exit 1
    }
}

# emulate EMULATOR CPU EXPECTED_ISA PROGRAM
emulate() {
    echo "$1 -cpu $2: expecting $3"
    "$1" -cpu "$2" "$4" "$3"
    ran=1
}

mkdir -p "$build"
ran=0
if command -v qemu-x86_64 >/dev/null && [ "$(uname -m)" = x86_64 ]; then
    configure_and_build "$build/x86_64"
    emulate qemu-x86_64 Nehalem scalar "$build/x86_64/tests/cpp/test_kernels"
    # No emulated CPU has AVX-VNNI or AVX-512: QEMU does not translate them.
    emulate qemu-x86_64 Haswell avx2 "$build/x86_64/tests/cpp/test_kernels"
else
    echo "skipped: qemu-x86_64 is not installed or this is no x86-64 machine"
fi
if command -v qemu-aarch64 >/dev/null && command -v aarch64-linux-gnu-g++ >/dev/null; then
    configure_and_build "$build/aarch64" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
        -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc
    emulate qemu-aarch64 cortex-a53 scalar "$build/aarch64/tests/cpp/test_kernels"
    emulate qemu-aarch64 cortex-a76 neon_dotprod "$build/aarch64/tests/cpp/test_kernels"
    emulate qemu-aarch64 max neon_i8mm "$build/aarch64/tests/cpp/test_kernels"
    cmake --build "$build/aarch64" --target safetyclf_shared safetyclf_static -j 2 >>"$build/aarch64.log" 2>&1 || {
        cat "$build/aarch64.log"
        exit 1
    }
    bash "$root/tests/capi/package.sh" "$build/aarch64" qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu
else
    echo "skipped: qemu-aarch64 or aarch64-linux-gnu-g++ is not installed"
fi
[ $ran = 1 ] || exit 77
