// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../run.hpp"

namespace quire::inline v0::kv::retain {

/// A retention policy says which tokens a head's queries still see; the layout drops what nobody will see again.
template <class P>
concept Retention = requires(const P p) {
  { p.sees() } noexcept -> std::same_as<visibility>;
};

/// Every token stays.
struct all {
  QUIRE_HD constexpr visibility sees() const noexcept { return {}; }
};
static_assert(Retention<all>);

}  // namespace quire::inline v0::kv::retain
