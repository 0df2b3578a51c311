#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Soaks quire-server under AddressSanitizer and UndefinedBehaviorSanitizer, then under ThreadSanitizer, for longer than `sh tests/run.sh
# server` does. quire-lm's kernels are left plain: sanitized they serve some ten tokens a second, and their own tests run sanitized.
# usage: sh tests/server/sanitize.sh [MINUTES]      default: 0.5 for each
set -eu
cd "$(dirname "$0")/../.."
sh cmake/setup.sh
model=${QUIRE_MODEL:-$(sh cmake/model.sh)}
cmake --preset dev >/dev/null
cmake --build --preset dev --target quire-server-address quire-server-thread
for name in address thread; do
  echo "== $name" >&2
  TSAN_OPTIONS="suppressions=$PWD/tests/server/tsan.supp exitcode=66" \
    python3 -B tests/server/soak.py "build/dev/examples/quire-server-$name" "$model" --minutes "${1:-0.5}" --any-memory
done
