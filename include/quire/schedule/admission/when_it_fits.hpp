// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../axes.hpp"

namespace quire::inline v0::schedule::admission {

/// As soon as memory has room. test: tests/schedule/admission/when_it_fits.cpp
struct when_it_fits {
  verdict judge(const request&, std::uint64_t, const load&) const noexcept { return {}; }
};
static_assert(Admission<when_it_fits>);

}  // namespace quire::inline v0::schedule::admission
