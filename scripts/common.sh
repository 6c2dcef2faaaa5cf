# Sourced by the other scripts: works from the repository's root, with the tools of .venv in front.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
VENV=${VENV:-$ROOT/.venv}
PATH=$VENV/bin:$PATH
BUILD=$ROOT/build/python # CMake's folder of the package that setup.sh installs
ROOTS=${ROOTS:-${XDG_CACHE_HOME:-$HOME/.cache}/safetyclf/roots} # root.sh; in the tree they would slow sdists down
export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}
export PIP_DISABLE_PIP_VERSION_CHECK=1
export ORT_DISABLE_TELEMETRY=1 # ONNX Runtime's wheels report from 1.29 on

# Exit status 77 means "skipped" to check.sh, as it does to automake.
skip() {
    echo "skipped: $*"
    exit 77
}

fail() {
    echo "error: $*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

need() {
    local tool
    for tool in "$@"; do have "$tool" || skip "$tool is not installed"; done
}

# An nvcc that can compile the GPU kernels, as cpp/cuda/CMakeLists.txt looks for it.
find_nvcc() {
    local candidate
    for candidate in "${CUDACXX:-}" nvcc /usr/local/cuda/bin/nvcc; do
        if "$candidate" -optf cpp/cuda/nvcc.options -E -x cu /dev/null >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

# check_wheel.py, which asks for GPU kernels where a build has them.
check_wheels() {
    if find_nvcc >/dev/null; then set -- --kernels "$@"; else echo "skipped: no nvcc, so wheels are built without GPU kernels"; fi
    python wheels/check_wheel.py "$@"
}

need_setup() { [ -x "$VENV/bin/python" ] || fail "no environment in $VENV; run scripts/setup.sh first"; }

# A working interpreter of that minor version ("3.12"): on PATH, or one that pyenv has.
find_python() {
    local candidate
    local -a candidates=("python$1")
    if have pyenv; then candidates+=("$(pyenv root)/versions/$1".*/bin/"python$1"); fi
    for candidate in "${candidates[@]}"; do
        if "$candidate" -c "import ensurepip, sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    return 1
}
