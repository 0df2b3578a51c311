// SPDX-License-Identifier: Apache-2.0
// Run-time dispatch: one backend per instruction set, picked from a table. Each is a shared object of which one symbol is
// visible, so that no template compiled with newer instructions can stand in for another unit's.
#include <string>

#include "backend.hpp"
#include "error.hpp"

namespace quire_lm {

std::unique_ptr<backend> make_backend_native(const model_weights&, const backend_options&);
std::unique_ptr<backend> make_backend_baseline(const model_weights&, const backend_options&);
std::unique_ptr<backend> make_backend_avx2(const model_weights&, const backend_options&);
std::unique_ptr<backend> make_backend_avx512(const model_weights&, const backend_options&);
std::unique_ptr<backend> make_backend_amx(const model_weights&, const backend_options&);
std::unique_ptr<backend> make_backend_cuda(const model_weights&, const backend_options&);
std::string no_device();

namespace {

struct candidate {
  instruction_set set;
  bool (*runs_here)();
};

[[maybe_unused]] bool runs_avx512() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vbmi2");
}

const candidate candidates[] = {
#if defined(QUIRE_LM_HAS_native)
    {{"native", make_backend_native}, [] { return true; }},
#endif
#if defined(QUIRE_LM_HAS_amx)
    {{"avx512_amx", make_backend_amx},
     [] {
       return runs_avx512() && __builtin_cpu_supports("avxvnni") && __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-int8") &&
              __builtin_cpu_supports("amx-bf16");
     }},
#endif
#if defined(QUIRE_LM_HAS_avx512)
    {{"avx512_bf16", make_backend_avx512}, runs_avx512},
#endif
#if defined(QUIRE_LM_HAS_avx2)
    {{"avx2", make_backend_avx2},
     [] {
       __builtin_cpu_init();
       return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c") &&
              __builtin_cpu_supports("aes");
     }},
#endif
#if defined(QUIRE_LM_HAS_baseline)
    {{"baseline", make_backend_baseline}, [] { return true; }},
#endif
};

}  // namespace

instruction_set choose_instruction_set(std::string_view forced) {
  std::string here;
  for (const candidate& c : candidates) {
    if (!c.runs_here()) continue;
    if (forced.empty() || forced == c.set.name) return c.set;
    here += (here.empty() ? "" : ", ") + std::string(c.set.name);
  }
  throw bad_input("isa is " + quoted(forced) + ", allowed on this machine " + here);
}

instruction_set choose_cuda() {
#if defined(QUIRE_LM_HAS_cuda)
  if (const std::string why = no_device(); !why.empty()) throw bad_input("device is 'cuda' (" + why + "), allowed cpu");
  return {"cuda", make_backend_cuda};
#else
  throw bad_input("device is 'cuda' (this program was built without it: QUIRE_LM_CUDA), allowed cpu");
#endif
}

}  // namespace quire_lm
