#!/bin/sh
# The main job: sets up, fetches the model once, generates text, compares the same model on composed caches.
# usage: sh examples/run.sh [--model FILE] [--prompt TEXT] [--threads N]
set -eu
cd "$(dirname "$0")/.."
model="" prompt="The tide comes in twice a day because" threads=""
while [ $# -gt 0 ]; do
  case $1 in
    --model | --prompt | --threads)
      [ $# -ge 2 ] || { echo "run: $1 needs a value" >&2; exit 2; }
      case $1 in --model) model=$2 ;; --prompt) prompt=$2 ;; *) threads=$2 ;; esac
      shift 2 ;;
    -h | --help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
    *) echo "run: unknown flag '$1', allowed --model FILE, --prompt TEXT, --threads N" >&2; exit 2 ;;
  esac
done

step() { echo "== $*" >&2; }

if [ -n "$model" ]; then
  [ -f "$model" ] || { echo "run: --model is '$model', which is not a file" >&2; exit 2; }
  sh cmake/setup.sh
else
  sh cmake/setup.sh
  model=$(sh cmake/model.sh)
fi

step "building quire-lm (release)"
cmake --preset release -DQUIRE_BUILD_TESTS=OFF -DQUIRE_BUILD_BENCH=OFF >/dev/null
cmake --build --preset release --target quire-lm
lm=build/release/examples/quire-lm
if [ -n "$threads" ]; then set -- --threads "$threads"; else set --; fi

step "generating"
printf '%s' "$prompt"
"$lm" generate --model "$model" --prompt "$prompt" --tokens 96 "$@"
echo
step "comparing caches"
"$lm" compare --model "$model" --output build/compare.json "$@"
step "the same as JSON: build/compare.json"
