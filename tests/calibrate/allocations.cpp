// SPDX-License-Identifier: Apache-2.0
// Counts operator new in this program, as the tests of schedule/ do.
#include "schedule/allocations.cpp"
