// SPDX-License-Identifier: Apache-2.0
// The arms that bench/device times, on small steps: made-up caches, plans on the device, graph-free launches, and the double reference.
// A wrong address, plan or dealing is found here; the bench itself checks again on every shape before it times it.
#include "../../bench/device/append_arm.cuh"
#include "../../bench/device/fill.cuh"
#include "../../bench/device/fold_arm.cuh"
#include "catch.hpp"
#include "device/memory.hpp"

using namespace device_bench;

namespace {

/// The emulator, or a GPU that a test build found, with few processors so that small steps are split.
class test_machine final : public machine {
 public:
  void* allocate(std::size_t bytes, const char* name) override { return device_test::detail::allocate(bytes, name); }
  void release(void* memory) noexcept override { device_test::detail::release(memory); }
  void upload(void* to, const void* from, std::size_t bytes) override { device_test::detail::to_device(to, from, bytes); }
  void download(void* to, const void* from, std::size_t bytes) override { device_test::detail::to_host(to, from, bytes); }
  void finish() override { device_test::finish(); }
  device::stream stream() const noexcept override { return {}; }
  std::uint32_t processors() const noexcept override { return 3; }
  std::uint32_t resident_blocks(const void*, std::uint32_t, std::size_t) override { return 2; }
};

/// Every plan of a step is right and all give the same bits.
template <class Arm>
void check(const std::string& words) {
  test_machine m;
  const workload w = workload::parse(words);
  CAPTURE(w.words());
  Arm a(m, w);
  CHECK(a.bytes > 0);
  CHECK(a.held_bytes >= Arm::layer_bytes(w));
  std::vector<std::byte> first;
  for (const std::string& name : a.plans()) {
    CAPTURE(name);
    CHECK(a.plan(name).workers > 0);
    for (const std::uint32_t layer : {0u, w.layers - 1}) {
      a.spoil();
      const status launched = a.launch(layer);
      m.finish();  // says what went wrong in a kernel
      REQUIRE(launched);
      const double error = a.error(layer);
      INFO("error " << error);
      CHECK(error < allowed_error);
    }
    const auto result = a.result();
    if (first.empty()) first = result;
    CHECK(result == first);
  }
}

template <class Pair, std::uint32_t Dim>
using decodes = fold_arm<kv::paged<Pair>, Dim, 8, 32>;
template <class Pair, std::uint32_t Dim>
using chunks = fold_arm<kv::paged<Pair>, Dim, 64>;
template <class Pair, std::uint32_t Dim>
using appends = append_arm<kv::paged<Pair>, Dim>;

}  // namespace

TEST_CASE("device bench: decodes of equal and ragged lengths") {
  if (!device_test::device_or_skip()) return;
  check<decodes<codecs::bf16, 64>>("codec=bf16 head_dim=64 kv_heads=3 group=3 batch=2 tokens=700 layers=3");
  check<decodes<codecs::fp8, 64>>("codec=fp8 head_dim=64 kv_heads=1 group=8 batch=4 tokens=1500 lengths=zipf layers=2");
  check<decodes<codecs::int8, 64>>("codec=int8 head_dim=64 kv_heads=1 group=1 batch=3 tokens=1200 lengths=one-long layers=2");
  check<decodes<codecs::int4, 128>>("codec=int4 head_dim=128 kv_heads=1 group=4 batch=2 tokens=900 lengths=zipf layers=1");
  check<decodes<codecs::int4_hadamard, 64>>("codec=int4-hadamard head_dim=64 kv_heads=2 group=3 batch=2 tokens=600 layers=2");
  check<decodes<codecs::kivi_3, 64>>("codec=kivi-3 head_dim=64 kv_heads=1 group=4 batch=2 tokens=500 layers=2");
  check<decodes<codecs::gear_2, 64>>("codec=gear-2 head_dim=64 kv_heads=1 group=4 batch=2 tokens=500 layers=1");
}
TEST_CASE("device bench: a prefix folded once for all and apart") {
  if (!device_test::device_or_skip()) return;
  check<decodes<codecs::bf16, 64>>("part=cascade codec=bf16 head_dim=64 kv_heads=2 group=4 batch=11 tokens=640 prefix=512 layers=2");
  check<decodes<codecs::int4_hadamard, 64>>("part=cascade codec=int4-hadamard head_dim=64 kv_heads=1 group=3 batch=12 tokens=900 prefix=768 layers=1");
}
TEST_CASE("device bench: chunks of prompts") {
  if (!device_test::device_or_skip()) return;
  check<chunks<codecs::bf16, 64>>("part=chunk codec=bf16 head_dim=64 kv_heads=1 group=3 batch=1 tokens=340 rows=150 layers=2");
  check<chunks<codecs::int4_hadamard, 64>>("part=chunk codec=int4-hadamard head_dim=64 kv_heads=1 group=4 batch=2 tokens=128 rows=128 layers=1");
}
TEST_CASE("device bench: rows taken in and tiles sealed") {
  if (!device_test::device_or_skip()) return;
  check<appends<codecs::bf16, 64>>("part=append codec=bf16 head_dim=64 kv_heads=2 batch=3 tokens=130 rows=1 layers=2");
  check<appends<codecs::fp8, 64>>("part=append codec=fp8 head_dim=64 kv_heads=1 batch=1 tokens=333 rows=200 layers=2");
  check<appends<codecs::int4_hadamard, 128>>("part=append codec=int4-hadamard head_dim=128 kv_heads=1 batch=1 tokens=256 rows=192 layers=1");
  check<appends<codecs::gear_2, 64>>("part=append codec=gear-2 head_dim=64 kv_heads=1 batch=1 tokens=256 rows=192 layers=1");
}
