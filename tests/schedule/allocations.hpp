// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace test {
/// Calls of operator new so far in this program (tests/schedule/allocations.cpp replaces it).
std::size_t allocations();
}  // namespace test
