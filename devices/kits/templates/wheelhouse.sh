#!/usr/bin/env bash
# Wheels for @{profile}, with their hashes: download where there is a network, install where there is none.
#
#   GENBA=PATH ./wheelhouse.sh download [amd64|arm64]   GENBA: a wheel, or a clone of the source to make one from
#   ./wheelhouse.sh install [VENV]                      default /opt/genba; needs no network
#
# PYTHON_VERSION (default @{python}) is the Python of the device. Wheels in vendor/ are taken along.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

python_version=${PYTHON_VERSION:-@{python}}
extra="@{extra}"

platforms() {
    local machine
    case $1 in
        amd64) machine=x86_64 ;;
        arm64) machine=aarch64 ;;
        *) echo "wheelhouse.sh: no architecture '$1'; there are amd64 and arm64" >&2; exit 2 ;;
    esac
    for tag in manylinux_2_34 manylinux_2_28 manylinux_2_27 manylinux_2_26 manylinux_2_24 manylinux_2_17 manylinux2014; do
        echo "--platform=${tag}_$machine"
    done
}

download() {
    local arch=$1 folder=wheelhouse/$1 source=${GENBA:?name a wheel of Genba or a clone of its source}
    local -a tags
    platforms "$arch" >/dev/null
    mapfile -t tags < <(platforms "$arch")
    rm -rf "$folder"
    mkdir -p "$folder" vendor
    if [ -d "$source" ]; then
        python3 -m pip wheel --quiet --no-deps --wheel-dir "$folder" "$source"
    else
        cp "$source" "$folder"
    fi
    cp vendor/*.whl "$folder" 2>/dev/null || true
    # The extra names the one build of ONNX Runtime that this profile needs; the builds exclude one another.
    python3 -m pip download --quiet --only-binary=:all: --dest "$folder" --find-links "$folder" \
        --implementation cp --python-version "$python_version" "${tags[@]}" \
        "$(echo "$folder"/genba-*.whl)${extra:+[$extra]}"
    pin "$folder"
    echo "$folder: $(find "$folder" -name '*.whl' | wc -l) wheels, $(du -sh "$folder" | cut -f1)"
}

# Writes requirements.txt: NAME==VERSION --hash=sha256:DIGEST of each wheel.
pin() {
    local wheel name version
    for wheel in "$1"/*.whl; do
        IFS=- read -r name version _ <<<"$(basename "$wheel")"
        echo "$name==$version --hash=sha256:$(sha256sum "$wheel" | cut -d' ' -f1)"
    done >"$1/requirements.txt"
}

install() {
    local venv=$1 folder
    case $(uname -m) in
        x86_64) folder=wheelhouse/amd64 ;;
        aarch64) folder=wheelhouse/arm64 ;;
        *) echo "wheelhouse.sh: no wheels for $(uname -m)" >&2; exit 1 ;;
    esac
    if [ ! -f "$folder/requirements.txt" ]; then
        echo "wheelhouse.sh: $folder is empty; run './wheelhouse.sh download' where there is a network" >&2
        exit 1
    fi
    if ! command -v "python$python_version" >/dev/null; then
        echo "wheelhouse.sh: no python$python_version here, which these wheels are for; install it, or download again" \
            "with PYTHON_VERSION=3.N of the $(python3 --version 2>/dev/null || echo Python) that is here" >&2
        exit 1
    fi
    "python$python_version" -I -m venv "$venv"
    "$venv/bin/python" -I -m pip install --quiet --no-index --no-deps --require-hashes \
        --find-links "$folder" -r "$folder/requirements.txt"
    "$venv/bin/genba" --version
}

case ${1:-} in
    download) download "${2:-@{arch}}" ;;
    install) install "${2:-/opt/genba}" ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
