// SPDX-License-Identifier: Apache-2.0
// What every driver parses and no mutant changes, parsed once for all of them (mutants.py). Nothing of attention/cuda/ may be here.
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "attention/token_rows.hpp"
#include "catch.hpp"
#include "device/memory.hpp"
#include "quire/attention/cohort.hpp"
#include "quire/attention/cpu/append.hpp"
#include "quire/attention/reference.hpp"
#include "quire/kv/codec/fp8.hpp"
#include "quire/kv/codec/gear.hpp"
#include "quire/kv/codec/hadamard.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/layout/head_split.hpp"
#include "quire/kv/layout/paged.hpp"
#include "quire/kv/store.hpp"
