// SPDX-License-Identifier: Apache-2.0
#include "lm/gguf.hpp"

#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "catch.hpp"
#include "gguf_writer.hpp"

using namespace quire_lm;
using Catch::Contains;
using gguf_test::blob;
using gguf_test::bytes_of;
using gguf_test::writer;

namespace {

/// A file with one key of each type and three tensors.
writer sample() {
  writer w;
  w.number<std::uint8_t>("k.u8", 0, 200).number<std::int8_t>("k.i8", 1, -5).number<std::uint16_t>("k.u16", 2, 60000);
  w.number<std::int16_t>("k.i16", 3, -300)
      .u32("k.u32", 4000000000u)
      .number<std::int32_t>("k.i32", 5, -70000)
      .f32("k.f32", 1.5f);
  w.boolean("k.bool", true).text("k.string", "h\xc3\xa9llo").number<std::uint64_t>("k.u64", 10, 1ull << 63);
  w.number<std::int64_t>("k.i64", 11, -(1ll << 40)).number<double>("k.f64", 12, 0.1);
  w.texts("a.string", {"", "one", "three"}).i32s("a.i32", {1, -2, 3});
  w.raw("a.empty", 9, blob{}.number<std::uint32_t>(6).number<std::uint64_t>(0).bytes);
  w.tensors = {{"token_embd.weight", {32, 2}, 8, 0}, {"norm", {5}, 0, 96}, {"cube", {1, 2, 3, 1}, 1, 128}};
  w.data.resize(140);
  for (std::size_t i = 0; i < w.data.size(); ++i) w.data[i] = static_cast<char>(i);
  return w;
}

gguf::header parse(const std::string& file) { return gguf::parse(bytes_of(file)); }
gguf::header parse(const writer& w) { return parse(w.file()); }

struct temporary_file {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("quire_gguf_" + std::to_string(std::random_device{}()));
  explicit temporary_file(const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }
  ~temporary_file() { std::filesystem::remove(path); }
};

}  // namespace

TEST_CASE("metadata of every type reads back") {
  const auto h = parse(sample());
  REQUIRE(h.version == 3);
  REQUIRE(h.get<int>("k.u8") == 200);
  REQUIRE(h.get<int>("k.i8") == -5);
  REQUIRE(h.get<std::uint32_t>("k.u16") == 60000);
  REQUIRE(h.get<std::int64_t>("k.i16") == -300);
  REQUIRE(h.get<std::uint64_t>("k.u32") == 4000000000u);
  REQUIRE(h.get<int>("k.i32") == -70000);
  REQUIRE(h.get<float>("k.f32") == 1.5f);
  REQUIRE(h.get<bool>("k.bool"));
  REQUIRE(h.get<std::string>("k.string") == "h\xc3\xa9llo");
  REQUIRE(h.get<std::uint64_t>("k.u64") == 1ull << 63);
  REQUIRE(h.get<std::int64_t>("k.i64") == -(1ll << 40));
  REQUIRE(h.get<double>("k.f64") == 0.1);
  REQUIRE(h.strings("a.string").count == 3);
  REQUIRE(h.strings("a.string").text(0).empty());
  REQUIRE(h.strings("a.string").text(2) == "three");
  REQUIRE(h.numbers<std::int32_t>("a.i32") == std::vector<std::int32_t>{1, -2, 3});
  REQUIRE(h.numbers<float>("a.empty").empty());
  REQUIRE(h.get_or<int>("absent", 7) == 7);
  REQUIRE(h.get_in("k.u8", 1, 200) == 200);
}

TEST_CASE("metadata of the wrong kind is refused by name") {
  const auto h = parse(sample());
  REQUIRE_THROWS_WITH(h.get<int>("absent"), Contains("'absent'"));
  REQUIRE_THROWS_WITH(h.get<int>("k.f32"), Contains("'k.f32' is of type f32, allowed an integer"));
  REQUIRE_THROWS_WITH(h.get<float>("k.u32"), Contains("allowed f32 or f64"));
  REQUIRE_THROWS_WITH(h.get<std::int32_t>("k.u32"), Contains("does not fit"));
  REQUIRE_THROWS_WITH(h.get<std::uint32_t>("k.i8"), Contains("allowed 0 to 4294967295"));
  REQUIRE_THROWS_WITH(h.get<bool>("k.u8"), Contains("allowed bool"));
  REQUIRE_THROWS_WITH(h.get<std::string>("a.string"), Contains("array of string"));
  REQUIRE_THROWS_WITH(h.get_or<int>("k.string", 1), Contains("string"));
  REQUIRE_THROWS_WITH(h.get_in("k.u8", 1, 100), Contains("k.u8 is 200, allowed 1 to 100"));
  REQUIRE_THROWS_AS(h.numbers<std::uint32_t>("a.i32"), bad_input);
  REQUIRE_THROWS_AS(h.numbers<float>("k.f32"), bad_input);
  REQUIRE_THROWS_AS(h.strings("k.string"), bad_input);
}

TEST_CASE("the tensor table gives extents and absolute places") {
  const std::string file = sample().file();
  const auto h = parse(file);
  REQUIRE(h.tensors.size() == 3);
  REQUIRE(h.data_offset % 32 == 0);
  REQUIRE(h.data_offset + 140 == file.size());
  const auto& t = h.need("token_embd.weight");
  REQUIRE(t.type == ggml_type::q8_0);
  REQUIRE(t.dims == std::vector<std::uint64_t>{32, 2});
  REQUIRE(t.bytes == 68);
  REQUIRE(t.offset == h.data_offset);
  REQUIRE(h.need("cube").elements() == 6);
  REQUIRE(h.find("absent") == nullptr);
  REQUIRE_THROWS_WITH(h.need("absent"), Contains("'absent'"));
}

TEST_CASE("a file on disk gives tensor bytes and keeps reads inside the tensor") {
  const std::string bytes = sample().file();
  const temporary_file disk(bytes);
  auto opened = gguf::file::open(disk.path.string());
  const gguf::file f = std::move(opened);
  const auto& t = f.need("norm");
  std::vector<std::byte> got(12);
  f.read(t, 8, got);
  for (std::size_t i = 0; i < got.size(); ++i) REQUIRE(std::to_integer<int>(got[i]) == static_cast<int>(96 + 8 + i));
  REQUIRE_THROWS_WITH(f.read(t, 9, got), Contains("allowed within its 20"));
  REQUIRE_THROWS_AS(f.read(t, ~std::uint64_t{0}, got), bad_input);
  f.read(t, 20, {});
  std::filesystem::resize_file(disk.path, bytes.size() - 8);
  std::vector<std::byte> cube(12);
  REQUIRE_THROWS_WITH(f.read(f.need("cube"), 0, cube), Contains("became shorter"));
  REQUIRE_THROWS_WITH(gguf::file::open(disk.path.string()), Contains("truncated"));
}

TEST_CASE("what is no file is refused") {
  REQUIRE_THROWS_WITH(gguf::file::open("/nonexistent/model.gguf"), Contains("/nonexistent/model.gguf"));
  REQUIRE_THROWS_WITH(gguf::file::open("/"), Contains("not a regular file"));
  REQUIRE_THROWS_AS(gguf::file::open(""), bad_input);
  const temporary_file empty("");
  REQUIRE_THROWS_WITH(gguf::file::open(empty.path.string()), Contains("magic"));
}

TEST_CASE("a file cut anywhere is refused") {
  const std::string file = sample().file();
  REQUIRE_NOTHROW(parse(file));
  for (std::size_t n = 0; n < file.size(); ++n) {
    INFO("cut at " << n);
    REQUIRE_THROWS_AS(parse(file.substr(0, n)), bad_input);
  }
  // The header alone is enough where the data is known to follow; one byte less is not.
  const auto h = parse(file);
  std::size_t shortest = 0;
  for (std::size_t n = 0; n <= h.data_offset && shortest == 0; ++n) {
    try {
      (void)gguf::parse(bytes_of(file).first(n), file.size());
      shortest = n;
    } catch (const bad_input&) {}
  }
  REQUIRE(shortest > h.data_offset - 32);
}

TEST_CASE("wrong magic and version are named") {
  auto w = sample();
  w.magic = "GGML";
  REQUIRE_THROWS_WITH(parse(w), Contains("magic is 'GGML', allowed 'GGUF'"));
  w.magic = std::string("\0\xff\n\"", 4);
  REQUIRE_THROWS_WITH(parse(w), Contains("'\\x00\\xff\\x0a\"'"));
  w.magic = "GGUF";
  for (const std::uint32_t version : {0u, 1u, 4u, 0xffffffffu}) {
    w.version = version;
    REQUIRE_THROWS_WITH(parse(w), Contains("version is " + std::to_string(version) + ", allowed 2 or 3"));
  }
  w.version = 0x03000000;
  REQUIRE_THROWS_WITH(parse(w), Contains("big-endian"));
  w.version = 2;
  REQUIRE_NOTHROW(parse(w));
}

TEST_CASE("absurd counts are refused before anything is allocated") {
  rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  for (const std::uint64_t n : {std::uint64_t{1000}, std::uint64_t{1} << 31, std::uint64_t{1} << 40,
                                std::uint64_t{1} << 61, ~std::uint64_t{0}}) {
    auto w = sample();
    w.tensor_count = n;
    REQUIRE_THROWS_WITH(parse(w), Contains("tensor count is " + std::to_string(n)));
    w = sample();
    w.key_count = n;
    REQUIRE_THROWS_WITH(parse(w), Contains("metadata count is " + std::to_string(n)));
    for (const std::uint32_t type : {0u, 7u, 8u, 12u}) {
      w = sample();
      w.raw("big", 9, blob{}.number(type).number(n).bytes);
      REQUIRE_THROWS_WITH(parse(w), Contains("'big' has " + std::to_string(n) + " elements"));
      // A huge file of which only the header is at hand: the claim may be true, the bytes still end.
      REQUIRE_THROWS_AS(gguf::parse(bytes_of(w.file()), std::uint64_t{1} << 60), bad_input);
    }
    w = sample();
    w.raw("long", 8, blob{}.number(n).bytes);
    REQUIRE_THROWS_AS(parse(w), bad_input);
    REQUIRE_THROWS_AS(gguf::parse(bytes_of(w.file()), std::uint64_t{1} << 62), bad_input);
    blob key;
    key.bytes = "GGUF";
    key.number<std::uint32_t>(3).number<std::uint64_t>(0).number<std::uint64_t>(1).number(n);
    key.bytes.resize(200);
    REQUIRE_THROWS_AS(parse(key.bytes), bad_input);
  }
  getrusage(RUSAGE_SELF, &after);
  REQUIRE(after.ru_maxrss - before.ru_maxrss < 256 * 1024);  // KiB; the sanitizers' quarantine takes some
}

TEST_CASE("values outside their type are refused") {
  auto w = sample();
  w.number<std::uint8_t>("b", 7, 2);
  REQUIRE_THROWS_WITH(parse(w), Contains("'b' is bool 2, allowed 0 or 1"));
  w = sample();
  w.raw("t", 13, "x");
  REQUIRE_THROWS_WITH(parse(w), Contains("'t' has value type 13, allowed 0 to 12"));
  w = sample();
  w.raw("t", 9, blob{}.number<std::uint32_t>(99).number<std::uint64_t>(0).bytes);
  REQUIRE_THROWS_WITH(parse(w), Contains("value type 99"));
  w = sample();
  w.raw(
      "nest", 9,
      blob{}.number<std::uint32_t>(9).number<std::uint64_t>(1).number<std::uint32_t>(0).number<std::uint64_t>(0).bytes);
  REQUIRE_THROWS_WITH(parse(w), Contains("array of arrays"));
  w = sample();
  w.u32("k.u8", 1);
  REQUIRE_THROWS_WITH(parse(w), Contains("'k.u8' stands twice"));
  w = sample();
  w.u32("", 1);
  REQUIRE_THROWS_WITH(parse(w), Contains("metadata key has 0 bytes"));
  w = sample();
  w.u32(std::string(65536, 'k'), 1);
  REQUIRE_THROWS_WITH(parse(w), Contains("metadata key has 65536 bytes, allowed 1 to 65535"));
}

TEST_CASE("alignment is a power of two") {
  for (const std::uint32_t a : {0u, 3u, 48u, 131072u}) {
    auto w = sample();
    w.u32("general.alignment", a);
    REQUIRE_THROWS_WITH(parse(w), Contains("general.alignment is " + std::to_string(a)));
  }
  auto w = sample();
  w.text("general.alignment", "32");
  REQUIRE_THROWS_AS(parse(w), bad_input);
  w = sample();
  w.u32("general.alignment", 128).alignment = 128;
  REQUIRE_THROWS_WITH(parse(w), Contains("'norm' has offset 96, allowed multiples of the alignment 128"));
  w.tensors[1].offset = 256;
  w.data.resize(300);
  REQUIRE(parse(w).need("norm").offset % 128 == 0);
}

TEST_CASE("tensors that cannot be are refused") {
  const auto with = [](auto change) {
    auto w = sample();
    change(w.tensors[1]);
    return w;
  };
  using tensor = writer::tensor;
  REQUIRE_THROWS_WITH(parse(with([](tensor& t) { t.dims = {}; })), Contains("'norm' has 0 dimensions, allowed 1 to 4"));
  REQUIRE_THROWS_WITH(parse(with([](tensor& t) { t.dims = {1, 1, 1, 1, 1}; })), Contains("5 dimensions"));
  REQUIRE_THROWS_WITH(parse(with([](tensor& t) { t.dims = {0}; })), Contains("a dimension of 0"));
  REQUIRE_THROWS_WITH(parse(with([](tensor& t) {
                        t.dims = {1ull << 32, 1ull << 32};
                      })),
                      Contains("a dimension of 4294967296"));
  REQUIRE_THROWS_WITH(parse(with([](tensor& t) { t.dims = {~0ull}; })), Contains("a dimension of"));
  REQUIRE_THROWS_WITH(parse(with([](tensor& t) { t.dims = {1ull << 53}; })), Contains("allowed within the file's"));
  REQUIRE_THROWS_WITH(parse(with([](tensor& t) { t.type = 5; })), Contains("'norm' has type 5"));
  REQUIRE_THROWS_WITH(parse(with([](tensor& t) { t.type = 0xffffffffu; })), Contains("not a known tensor type"));
  REQUIRE_THROWS_WITH(parse(with([](tensor& t) { t.type = 3; })), Contains("rows of 5, allowed multiples of 32"));
  REQUIRE_THROWS_WITH(parse(with([](tensor& t) { t.name = "cube"; })), Contains("'cube' stands twice"));
  REQUIRE_THROWS_WITH(parse(with([](tensor& t) { t.name = ""; })), Contains("tensor name has 0 bytes"));
  REQUIRE_THROWS_WITH(parse(with([](tensor& t) { t.name = std::string(65, 'n'); })),
                      Contains("tensor name has 65 bytes"));
  REQUIRE_THROWS_WITH(parse(with([](tensor& t) { t.offset = 100; })), Contains("offset 100, allowed multiples"));
  REQUIRE_THROWS_WITH(parse(with([](tensor& t) { t.offset = 64; })),
                      Contains("'norm' has data offset 64, allowed from 68 on"));
  REQUIRE_THROWS_WITH(parse(with([](tensor& t) { t.offset = 0; })), Contains("data offset 0"));
  REQUIRE_THROWS_WITH(parse(with([](tensor& t) { t.offset = 1ull << 62; })),
                      Contains("allowed within the file's 140 bytes"));
  REQUIRE_THROWS_WITH(parse(with([](tensor& t) { t.offset = ~0ull - 31; })),
                      Contains("allowed within the file's 140 bytes"));
}

TEST_CASE("a table of many tensors is checked quickly") {
  writer w;
  w.number<std::uint32_t>("general.alignment", 4, 4).alignment = 4;
  constexpr std::size_t n = 100000;
  for (std::size_t i = 0; i < n; ++i) w.tensors.push_back({std::to_string(i), {1}, 0, 4 * ((i * 7919) % n)});
  w.data.resize(4 * n);
  REQUIRE(parse(w).tensors.size() == n);
  w.tensors[500].dims = {2};
  REQUIRE_THROWS_WITH(parse(w), Contains("ends"));
}

TEST_CASE("flipped bytes give a header or bad_input and nothing else") {
  const std::string file = sample().file();
  std::mt19937_64 random(7);
  std::size_t refused = 0, read = 0;
  for (int round = 0; round < 6000; ++round) {
    std::string damaged = file;
    const auto flips = 1 + random() % 4;
    for (std::uint64_t i = 0; i < flips; ++i)
      damaged[random() % damaged.size()] = static_cast<char>(random() % 3 == 0 ? 0xff : random());
    try {
      const auto h = parse(damaged);
      for (const auto& t : h.tensors) REQUIRE(t.offset + t.bytes <= damaged.size());
      ++read;
    } catch (const bad_input&) { ++refused; }
  }
  REQUIRE(refused > 1000);
  REQUIRE(read > 100);
}
