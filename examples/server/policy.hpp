// SPDX-License-Identifier: Apache-2.0
// The scheduler the flags describe.
#pragma once

#include "quire/schedule/fcfs.hpp"

namespace quire_server {

using policy = quire::schedule::fcfs;

}  // namespace quire_server
