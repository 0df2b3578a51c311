// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../../kv/codec/balanced.hpp"
#include "operand.cuh"

namespace quire::inline v0::attention::cuda {

/// A balanced tile multiplies as its base does: queries are divided by the balancer (queries.cuh).
template <class Base, std::uint32_t Rows, std::uint32_t Columns>
struct operand<kv::balanced<Base>, Rows, Columns> : operand<Base, Rows, Columns> {};

}  // namespace quire::inline v0::attention::cuda
