# SPDX-License-Identifier: Apache-2.0
"""Mistakes in our device code that tests must notice: (driver, header, text, what stands there instead, why it is wrong).

A text is found exactly once in its header; take enough of its surroundings.
"""

_FOLD, _SHARE, _QUEUE = "attention/cuda/fold.cuh", "attention/cuda/share.cuh", "attention/cuda/tile_queue.cuh"
_STATES, _OPERAND, _INTEGER, _QUERIES = ("attention/cuda/states.cuh", "attention/cuda/operand.cuh", "attention/cuda/operand_integer.cuh",
                                         "attention/cuda/queries.cuh")

MUTANTS = [
    # Barriers.
    ("decode", _FOLD, "m.top[me.warp][b * 8 + me.at.t * 2 + j] = most;\n    }\n  __syncthreads();", "m.top[me.warp][b * 8 + me.at.t * 2 + j] = most;\n    }",
     "no barrier between a warp's maxima and those who read them"),
    ("decode", _FOLD, "pack<values>(first, second);\n    }\n  __syncthreads();", "pack<values>(first, second);\n    }",
     "no barrier between weights and the product that reads them"),
    ("decode", _FOLD, "m.low[me.warp][row] = low;\n    }\n  __syncthreads();", "m.low[me.warp][row] = low;\n    }",
     "no barrier between a warp's sums and those who add them"),
    ("chunks", _FOLD, "rotate_rows(m.turning, Block::rows, Block::dim, me);\n  __syncthreads();", "rotate_rows(m.turning, Block::rows, Block::dim, me);",
     "rows are taken back while other warps still turn them"),
    ("decode", _SHARE, "device::copy_wait<static_cast<int>(Block::stages) - 2>();\n      __syncthreads();", "device::copy_wait<static_cast<int>(Block::stages) - 2>();",
     "own copies have arrived, those of others need not have"),
    ("decode", _SHARE, "bring_part(Memory& m, std::uint32_t number, const plan_item& item) noexcept {\n    __syncthreads();",
     "bring_part(Memory& m, std::uint32_t number, const plan_item& item) noexcept {", "a part is announced before all of the block's threads have kept it"),
    ("decode", _SHARE, "m.last[0] = device::arrive(c_.arrivals + number, last) == last;\n    }\n    __syncthreads();",
     "m.last[0] = device::arrive(c_.arrivals + number, last) == last;\n    }", "the verdict is read before it is written"),
    ("decode", _STATES, "void keep(const registers& r, std::byte* to) const noexcept {\n    __syncthreads();", "void keep(const registers& r, std::byte* to) const noexcept {",
     "sums of a state are overwritten while others read them"),
    ("prefix", _SHARE, "s.keep(r, stack(walk.filled() - 1));\n    __syncthreads();\n  }", "s.keep(r, stack(walk.filled() - 1));\n  }",
     "a state is read back before the four threads that keep its sums have written them"),
    ("decode", _QUERIES, "* scale : 0.0f;\n  }\n  __syncthreads();", "* scale : 0.0f;\n  }", "coefficients are made of rows that others are still writing"),
    ("chunks", _QUERIES, "      __syncwarp();\n", "", "lanes of a rotation run ahead of each other"),
    ("prefix", _SHARE, "if (me_.thread < 2) m.last[me_.thread] = 0;\n    __syncthreads();", "if (me_.thread < 2) m.last[me_.thread] = 0;",
     "members' bits are set while they are being cleared"),
    # Copies.
    ("decode", _SHARE, "static_cast<int>(Block::stages) - 2>()", "static_cast<int>(Block::stages) - 1>()", "waits for one group too few"),
    ("decode", _QUEUE, "    device::copy_commit();\n", "    if (have_) device::copy_commit();\n", "no group is closed where there is no tile, so that waits count wrong"),
    ("decode", _SHARE, "for (std::uint32_t i = 0; i + 1 < Block::stages; ++i) queue.ask();", "for (std::uint32_t i = 0; i < Block::stages; ++i) queue.ask();",
     "one tile too many is asked for: it lands where one is still read"),
    ("decode", _SHARE, "      __syncthreads();\n      queue.ask();  // into the stage that was folded before this one", "      queue.ask();\n      __syncthreads();",
     "the next tile may land where a slower warp still folds"),
    ("decode", _SHARE, "stage = stage + 1 == Block::stages ? 0 : stage + 1;", "stage = stage + 2 >= Block::stages ? 0 : stage + 1;", "folds the wrong stage"),
    ("decode", _OPERAND, "(c / chunks * stride + c % chunks * 4) * 4", "(c / chunks * Columns + c % chunks * 4) * 4", "rows are staged without the padding they are read with"),
    ("channels", _OPERAND, "for (std::uint32_t c = thread; c < parameter_copies;", "for (std::uint32_t c = thread + 1; c < parameter_copies;", "the first scales are never copied"),
    # Fragments.
    ("decode", _OPERAND, "{static_cast<std::uint32_t>(low), static_cast<std::uint32_t>(low >> 32), static_cast<std::uint32_t>(high), static_cast<std::uint32_t>(high >> 32)}",
     "{static_cast<std::uint32_t>(low), static_cast<std::uint32_t>(high), static_cast<std::uint32_t>(low >> 32), static_cast<std::uint32_t>(high >> 32)}",
     "two words of the left operand are swapped"),
    ("decode", _FOLD, "(me.at.t * 2 + j) * 4 + to.t) * 2 + to.half]", "(me.at.t * 2 + j) * 4 + to.t) * 2 + (to.half ^ 1)]", "halves of the weights' fragment are swapped"),
    ("decode", _FOLD, "r.o[i][b][c] *= factor[b][c % 2];", "r.o[i][b][c] *= factor[b][c / 2];", "sums are rescaled by another row's factor"),
    ("decode", _QUERIES, "const float* high = rows + row * Block::dim + 2 * keys::pair_of({step, l.t, 1});", "const float* high = rows + row * Block::dim + 2 * keys::pair_of({step, l.t, 0});",
     "the queries' upper half repeats the lower"),
    ("decode", _STATES, "(i * Block::row_blocks + b) * block_threads + me_.thread", "(i * Block::row_blocks + b) * block_threads + me_.lane", "warps keep their sums in the same place"),
    # Ranges, masks and order.
    ("decode", _FOLD, "for (std::uint32_t d = 4; d < warp_threads; d *= 2) l +=", "for (std::uint32_t d = 8; d < warp_threads; d *= 2) l +=", "half of the lanes are left out of the sums"),
    ("decode", _FOLD, "(t.live >> token & 1u) != 0", "(t.live >> (token + 1) & 1u) != 0", "the newest token is masked"),
    ("chunks", _FOLD, "key = static_cast<std::uint32_t>(t.position) + token;", "key = static_cast<std::uint32_t>(t.position) + token + 1;", "queries do not see themselves"),
    ("chunks", _QUEUE, "<= static_cast<std::int32_t>(item_.first) + 1;", "<= static_cast<std::int32_t>(item_.first + item_.count);", "tiles on the diagonal are taken for whole"),
    ("decode", _QUEUE, "order_ >>= 2, --left_;", "order_ >>= 1, --left_;", "folds one tile twice and another never"),
    ("decode", _QUEUE, "r.base + std::size_t{page_} * r.page_stride", "r.base + std::size_t{slot_ - r.slot} * r.page_stride", "takes slots for pages"),
    ("decode", _SHARE, "const std::uint32_t last = parts_of(item) - 1;", "const std::uint32_t last = parts_of(item);", "waits for one part more than there are"),
    ("decode", _SHARE, "w < item.first_worker + item.workers; ++w)", "w + 1 < item.first_worker + item.workers; ++w)", "the last worker's part is forgotten"),
    ("decode", _QUERIES, "if (row >= count) continue;", "if (row > count) continue;", "writes one row more than the item has"),
    ("decode", _QUERIES, "i < Block::rows * Block::dim; i += block_threads) {\n    const std::uint32_t r = i / Block::dim, channel", "i < count * Block::dim; i += block_threads) {\n    const std::uint32_t r = i / Block::dim, channel",
     "rows past the item's are no zeros but what lay there"),
    ("decode", _STATES, "before = device::exp2((left_m - safe) * log2_e), after = device::exp2((m - safe) * log2_e);", "after = device::exp2((left_m - safe) * log2_e), before = device::exp2((m - safe) * log2_e);",
     "each side is weighed by the other's maximum"),
    ("decode", _STATES, "l = fmaf(left_l, before, l * after), m = most;", "l = fmaf(left_l, before, l * after);", "a merged state keeps the right side's maximum"),
    ("prefix", _STATES, "row = b * 8 + me_.at.t * 2 + j, there = first + row;", "row = b * 8 + me_.at.t * 2 + j, there = row;", "every member takes the first one's rows of the prefix"),
    ("prefix", _SHARE, "last = parts_of(c_.plan.items[member]) - 1;\n", "last = c_.plan.items[member].workers - 1;\n", "a member is finished before its prefix counts"),
    # Codes.
    ("channels", _FOLD, "const float even = __shfl_sync(~0u, x, me.at.t * 8), odd = __shfl_sync(~0u, x, me.at.t * 8 + 4);", "const float even = __shfl_sync(~0u, x, me.at.t * 8), odd = even;",
     "the odd row gets the even row's minimum"),
    ("channels", _FOLD, "high = 2 * keys::pair_of({step, me.at.t, 1});", "high = 2 * keys::pair_of({step, me.at.t, 0});", "the upper half is scaled as the lower"),
    ("chunks", _FOLD, "minimum[c / 2] * m.query_sum[b * 8 + me.at.t * 2 + c % 2]", "minimum[c / 2] * m.query_sum[b * 8 + me.at.t * 2 + c / 2]", "another row's sum with a token's minimum"),
    ("chunks", _SHARE, "if (exact) turn_over<Block>(m, r, me_);\n        exact = false;", "exact = false;", "exact values are added in the wrong basis"),
]
