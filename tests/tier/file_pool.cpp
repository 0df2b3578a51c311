// SPDX-License-Identifier: Apache-2.0
#include "quire/tier/file_pool.hpp"

#include <sys/wait.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "catch.hpp"

using namespace quire;
using tier::spill_found;

namespace {

/// A path of its own for a test, gone afterwards.
struct scratch {
  explicit scratch(const char* name) : path((std::filesystem::temp_directory_path() / ("quire_" + std::to_string(::getpid()) + "_" + name)).string()) {
    std::filesystem::remove(path);
  }
  ~scratch() { std::filesystem::remove(path); }
  std::string path;
};
std::vector<std::byte> pattern(std::size_t n, int salt) {
  std::vector<std::byte> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<std::byte>(i * 31 + static_cast<std::size_t>(salt) * 7);
  return x;
}
void flip(const std::string& path, std::uint64_t at) {
  std::fstream f(path, std::ios::in | std::ios::out | std::ios::binary);
  f.seekg(static_cast<std::streamoff>(at));
  const char c = static_cast<char>(f.get() ^ 0x20);
  f.seekp(static_cast<std::streamoff>(at));
  f.put(c);
}

}  // namespace

TEST_CASE("slots of a file give back what was written, many at once") {
  const scratch file("slots");
  tier::file_pool pool;
  REQUIRE(pool.open(file.path.c_str(), 200, 100));
  CHECK(pool.found() == spill_found::nothing);
  const auto x = pattern(150 * 100, 1);
  REQUIRE(pool.write(20, x));
  std::vector<std::byte> y(150 * 100);
  REQUIRE(pool.read(20, y));
  CHECK(x == y);
  REQUIRE(pool.write(30, pattern(100, 9)));
  REQUIRE(pool.read(29, std::span(y).first(300)));
  CHECK(std::equal(y.begin() + 100, y.begin() + 200, pattern(100, 9).begin()));
  CHECK(pool.read(10, std::span(y).first(100)).code == errc::corrupt);  // never written
  CHECK(pool.read(199, std::span(y).first(200)).code == errc::out_of_range);
  CHECK(pool.write(0, std::span(x).first(150)).code == errc::out_of_range);
  CHECK(pool.open(file.path.c_str(), 1, 1).code == errc::out_of_range);
  tier::file_pool moved = std::move(pool);
  REQUIRE(moved.read(20, std::span(y).first(100)));
}

TEST_CASE("damage to any byte of a slot is refused, other slots are not concerned") {
  const scratch file("damage");
  tier::file_pool pool;
  REQUIRE(pool.open(file.path.c_str(), 3, 40));
  const auto x = pattern(3 * 40, 2);
  std::vector<std::byte> y(40);
  for (std::uint64_t i = 0; i < 64; ++i) {
    REQUIRE(pool.write(0, x));
    flip(file.path, 40 + 64 + i);  // after the file's header and slot 0
    CHECK(pool.read(0, y));
    CHECK(pool.read(1, y).code == errc::corrupt);
    CHECK(pool.read(2, y));
  }
  REQUIRE(pool.write(0, x));
  std::filesystem::resize_file(file.path, 40 + 64 + 50);
  CHECK(pool.read(0, y));
  CHECK(pool.read(1, y).code == errc::corrupt);
  CHECK(pool.read(2, y).code == errc::corrupt);
  REQUIRE(pool.write(2, std::span(x).last(40)));
  CHECK(pool.read(2, y));
}

TEST_CASE("after kill -9 the next run finds what was left over, ignores it and starts clean") {
  const scratch file("killed");
  const auto x = pattern(8 * 64, 3);
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    tier::file_pool pool;
    const bool good = pool.open(file.path.c_str(), 8, 64) && pool.write(0, x);
    const char c = good ? 'y' : 'n';
    static_cast<void>(::write(ready[1], &c, 1) == 1);
    for (;;) ::pause();
  }
  char c = 0;
  REQUIRE(::read(ready[0], &c, 1) == 1);
  CHECK(c == 'y');
  tier::file_pool pool;
  const status locked = pool.open(file.path.c_str(), 8, 64);
  CHECK(locked.code == errc::io);
  CHECK((locked.native == EAGAIN || locked.native == EACCES));
  ::kill(child, SIGKILL);
  int how = 0;
  ::waitpid(child, &how, 0);
  ::close(ready[0]), ::close(ready[1]);
  REQUIRE(pool.open(file.path.c_str(), 8, 64));
  CHECK(pool.found() == spill_found::left_over);
  std::vector<std::byte> y(64);
  for (std::uint32_t s = 0; s < 8; ++s) CHECK(pool.read(s, y).code == errc::corrupt);
  REQUIRE(pool.write(3, std::span(x).first(64)));
  CHECK(pool.read(3, y));
}

TEST_CASE("a damaged, cut off or older spill file is replaced; a file that is none is left alone") {
  const scratch file("before");
  const auto leave = [&] {  // a copy of the file as a killed run leaves it
    {
      tier::file_pool pool;
      REQUIRE(pool.open(file.path.c_str(), 4, 32));
      REQUIRE(pool.write(0, pattern(4 * 32, 4)));
      std::filesystem::copy_file(file.path, file.path + ".copy", std::filesystem::copy_options::overwrite_existing);
    }
    CHECK(std::filesystem::file_size(file.path) == 0);  // a run that ends empties it
    std::filesystem::rename(file.path + ".copy", file.path);
  };
  const auto found = [&] {
    tier::file_pool pool;
    REQUIRE(pool.open(file.path.c_str(), 4, 32));
    std::vector<std::byte> y(32);
    CHECK(pool.read(0, y).code == errc::corrupt);
    return pool.found();
  };
  leave();
  CHECK(found() == spill_found::left_over);
  for (const std::uintmax_t size : {1u, 7u, 8u, 39u, 40u, 41u, 200u}) {
    leave();
    std::filesystem::resize_file(file.path, size);
    CHECK(found() == spill_found::damaged);
  }
  leave();
  flip(file.path, 8);
  CHECK(found() == spill_found::other_version);
  leave();
  flip(file.path, 17);
  CHECK(found() == spill_found::damaged);
  std::ofstream(file.path, std::ios::binary) << std::string(500, '\0');
  CHECK(found() == spill_found::damaged);
  std::ofstream(file.path, std::ios::binary) << "the only copy of somebody's thesis";
  tier::file_pool pool;
  CHECK(pool.open(file.path.c_str(), 4, 32).code == errc::corrupt);
  CHECK(std::filesystem::file_size(file.path) == 34);
  CHECK(pool.open("/nonexistent/folder/file", 4, 32).native == ENOENT);
}

TEST_CASE("memory and files copy straight into each other") {
  const scratch file("straight");
  tier::file_pool spill;
  REQUIRE(spill.open(file.path.c_str(), 90, 48));
  tier::memory_pool memory(90, 48);
  const auto x = pattern(90 * 48, 5);
  REQUIRE(memory.write(0, x));
  REQUIRE(tier::copy_slots(memory, 0, spill, 5, 80));
  std::memset(memory.at(0), 0, 90 * 48);
  REQUIRE(tier::copy_slots(spill, 5, memory, 1, 80));
  CHECK(std::memcmp(memory.at(1), x.data(), 80 * 48) == 0);
  flip(file.path, 40 + 50 * (24 + 48) + 30);
  const status damaged = tier::copy_slots(spill, 5, memory, 0, 80);
  CHECK(damaged.code == errc::corrupt);
  CHECK(damaged.value == 50);
  std::filesystem::resize_file(file.path, 40 + 40 * (24 + 48) + 3);
  CHECK(tier::copy_slots(spill, 5, memory, 0, 80).value == 40);
}
