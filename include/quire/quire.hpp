// SPDX-License-Identifier: Apache-2.0
// Every host header, for first contact; programs include what they use.
#pragma once

#include "core/config.hpp"
#include "core/deal.hpp"
#include "core/executor.hpp"
#include "core/extents.hpp"
#include "core/number.hpp"
#include "core/softmax.hpp"
#include "core/status.hpp"
