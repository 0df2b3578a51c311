#!/bin/sh
# Installs what is missing to build and test (Debian and Ubuntu through apt); touches nothing that is already there.
# usage: sh cmake/setup.sh [examples]      with `examples` also what the model download needs
set -eu
missing=""
need() { # need PACKAGE TEST...: the package is missing when the test fails
  package=$1; shift
  "$@" >/dev/null 2>&1 || missing="$missing $package"
}
header() { [ -e "/usr/include/$1" ] || ls /usr/include/*/"$1" >/dev/null 2>&1; }
need g++ sh -c 'command -v g++'
need cmake sh -c 'command -v cmake'
need ninja-build sh -c 'command -v ninja'
need ccache sh -c 'command -v ccache'
need python3 sh -c 'command -v python3'
need libhwy-dev header hwy/highway.h
need catch2 header catch2/catch.hpp
need libbenchmark-dev header benchmark/benchmark.h
need nlohmann-json3-dev header nlohmann/json.hpp
need libcli11-dev header CLI/CLI.hpp
need libpcre2-dev header pcre2.h
need libcpp-httplib-dev header httplib.h
need libboost-context-dev header boost/context/fiber.hpp
if [ "${1:-}" = examples ]; then
  need python3-pip python3 -m pip --version
fi
if [ "${1:-}" = fuzz ]; then
  need clang sh -c 'command -v clang++'
  need libclang-rt-14-dev sh -c 'ls /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-x86_64.a'
fi
[ -n "$missing" ] || exit 0
echo "setup: installing$missing"
as_root=""
[ "$(id -u)" = 0 ] || as_root=sudo
if ! command -v apt-get >/dev/null 2>&1; then
  echo "setup: no apt-get here; install by hand:$missing" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# shellcheck disable=SC2086
$as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
