// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Library version; CMake reads these three lines. Formats on disk or wire carry versions of their own.
#define QUIRE_VERSION_MAJOR 0
#define QUIRE_VERSION_MINOR 1
#define QUIRE_VERSION_PATCH 0
