#!/usr/bin/env bash
# Builds all portable wheels into dist/portable, checks them, runs each one that can be run here, and writes the table of
# wheels/README.md. Systems to run them in are made by scripts/root.sh, once and as root; what is absent is said and not tested.
. "$(dirname "$0")/common.sh"
need_setup
need readelf nm objdump aarch64-linux-gnu-objdump
pip install --quiet -r wheels/requirements.txt
dist=dist/portable results=build/wheels/results.jsonl
mkdir -p build
for root in forky arm64 bullseye musl musl-arm64; do
    [ -d "$ROOTS/$root" ] || bash scripts/root.sh $root >build/$root.log 2>&1 || {
        rm -rf "${ROOTS:?}/$root"
        echo "skipped: no root $root; build/$root.log says why"
    }
done

begin=$SECONDS
arguments=()
for version in 3.10 3.11 3.12 3.13; do
    if python=$(find_python $version); then arguments+=("--python=$python"); else echo "skipped: Python $version is not installed"; fi
done
headers=$ROOTS/forky/usr/include/python3.14
[ ! -d "$headers" ] || arguments+=("--headers=cp314=$headers" "--headers=cp314t=$headers")
rm -rf $dist $results
mkdir -p build/wheels
python wheels/build.py --dist $dist "${arguments[@]}"
echo "built in $((SECONDS - begin)) s"
check_wheels $dist/*.whl
for target in build/wheels/*linux_*; do python tools/audit_kernels.py "$target"; done

try() { # PYTHON PLATFORM ARGUMENT...
    local wheel
    wheel=$(ls $dist/*-"cp${1/./}-cp${1/./}"-*"$2".whl)
    python wheels/try_wheel.py "$wheel" --results $results "${@:3}"
}
in_root() { # ROOT PYTHON PLATFORM ARGUMENT...: in that root, if it is there
    [ ! -d "$ROOTS/$1" ] || try "$2" "$3" --root "$ROOTS/$1" "${@:4}"
}
[ "$(uname -m)" = x86_64 ] || skip "wheels are tested on x86-64 only"
for version in 3.10 3.11 3.12 3.13; do
    if python=$(find_python $version); then try $version manylinux_2_17_x86_64 --python "$python"; fi
done
for cpu in Nehalem:scalar Haswell:avx2; do
    if have qemu-x86_64; then
        real=$("$(find_python 3.13)" -c 'import os, sys; print(os.path.realpath(sys.executable))') # and no script of pyenv
        try 3.13 manylinux_2_17_x86_64 --run "qemu-x86_64 -cpu ${cpu%:*} $real" --expect ${cpu#*:} --emulated --place "${cpu%:*} (QEMU)"
    else
        echo "skipped: qemu-x86_64 is not installed"
    fi
done
in_root forky 3.14 manylinux_2_17_x86_64 --run python3.14 --place "Debian testing"
in_root bullseye 3.13 manylinux_2_17_x86_64 --run python3.13 --place "Debian 11"
in_root musl 3.13 musllinux_1_2_x86_64 --run python3.13 --place "musl system"
for cpu in cortex-a53:scalar cortex-a76:neon_dotprod max:neon_i8mm; do
    emulator="/qemu-aarch64-static -cpu ${cpu%:*}"
    in_root arm64 3.11 manylinux_2_17_aarch64 --run "$emulator /usr/bin/python3.11" --expect ${cpu#*:} --emulated --place "${cpu%:*} (QEMU)"
    in_root musl-arm64 3.13 musllinux_1_2_aarch64 --run "$emulator /usr/bin/python3.13" --expect ${cpu#*:} --emulated --place "${cpu%:*} (QEMU)"
done
python wheels/table.py $results $dist/*.whl
