// SPDX-License-Identifier: Apache-2.0
// The smallest profiler: NVTX loads it (NVTX_INJECTION64_PATH), and it prints the ranges of its program.
#include <nvtx3/nvToolsExt.h>

#include <cstdio>

namespace {

int depth = 0;
int push(const char* name) {
  std::printf("push %s\n", name);
  return depth++;
}
int pop() {
  std::printf("pop\n");
  return --depth;
}

}  // namespace

extern "C" int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get) {
  const auto* callbacks = static_cast<const NvtxExportTableCallbacks*>(get(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned size = 0;
  if (callbacks == nullptr || !callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &table, &size) || size <= NVTX_CBID_CORE_RangePop) return 0;
  *table[NVTX_CBID_CORE_RangePushA] = reinterpret_cast<NvtxFunctionPointer>(&push);
  *table[NVTX_CBID_CORE_RangePop] = reinterpret_cast<NvtxFunctionPointer>(&pop);
  return 1;
}
