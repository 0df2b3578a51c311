// SPDX-License-Identifier: Apache-2.0
// A second unit with every host header, linked into each test: a header that breaks the one-definition rule fails here.
#include "quire/quire.hpp"
