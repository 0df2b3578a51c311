// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/swap_files.hpp"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>

#include "catch.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/layout/head_split.hpp"
#include "quire/kv/swapper.hpp"
#include "quire/tier/copy_thread.hpp"

using namespace quire;

namespace {

using int4 = kv::codec_pair<kv::integer<4, kv::group::row>>;
using layout_type = kv::head_split<int4>;

/// A folder of its own for a test, gone afterwards.
struct scratch {
  explicit scratch(const char* name) : path(std::filesystem::temp_directory_path() / ("quire_" + std::to_string(::getpid()) + "_" + name)) {
    std::filesystem::create_directory(path);
  }
  ~scratch() { std::filesystem::remove_all(path); }
  std::filesystem::path path;
};
struct fixture {
  kv::head_classes classes{{2, 2, 8}, std::vector<std::uint8_t>{1, 0, 0, 1}};
  layout_type layout{{2, 2, 8}, classes, {.sinks = 64, .window = 100}};
  kv::store<layout_type> store{layout, kv::pages_for(layout, 3, 1000)};
  kv::mirror_options<layout_type> options = kv::mirrors_for(layout, 5, 1000);
};
constexpr std::uint32_t pools = kv::mirror_options<layout_type>::pools;

}  // namespace

TEST_CASE("files stand where swap_memory has memory, one for each pool with slots") {
  const scratch folder("swap_files");
  fixture f;
  std::string failed;
  {
    kv::swap_files files(f.store, f.options);
    REQUIRE(files.pools().empty());
    REQUIRE(files.open(folder.path.string(), failed));
    REQUIRE(files.found() == tier::spill_found::nothing);
    REQUIRE(files.pools().size() == 2 * pools);
    std::uint32_t with_slots = 0;
    for (std::uint32_t p = 0; p < pools; ++p) {
      tier::pool_ref device = files.pools()[p], host = files.pools()[pools + p];
      CHECK(device.slots() == f.store.pool(p).pages());
      CHECK(device.mapped());
      if (f.store.pool(p).page_bytes() == 0) continue;
      CHECK_FALSE(host.mapped());
      CHECK(host.slots() == f.options.slots[p]);
      if (host.slots() == 0) continue;
      CHECK(host.slot_bytes() == device.slot_bytes());
      ++with_slots;
    }
    REQUIRE(with_slots >= 3);  // two groups and tails
    std::uint32_t found = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path)) found += entry.is_regular_file();
    REQUIRE(found == with_slots);
    std::filesystem::copy(folder.path, folder.path / "killed");
  }
  for (const char* damage : {"", "x"}) {  // as a killed run leaves them, then with a damaged header
    std::filesystem::copy(folder.path / "killed", folder.path, std::filesystem::copy_options::overwrite_existing | std::filesystem::copy_options::recursive);
    if (*damage != 0) {
      std::fstream header(folder.path / "quire-spill-1", std::ios::in | std::ios::out | std::ios::binary);
      header.seekp(17);
      header << damage;
    }
    kv::swap_files files(f.store, f.options);
    REQUIRE(files.open(folder.path.string(), failed));
    CHECK(files.found() == (*damage != 0 ? tier::spill_found::damaged : tier::spill_found::left_over));
  }
}

TEST_CASE("a folder that can't be used is named, and nothing is left open") {
  const scratch folder("swap_files_refused");
  fixture f;
  std::string failed;
  kv::swap_files files(f.store, f.options);
  const status absent = files.open((folder.path / "absent").string(), failed);
  CHECK(absent.code == errc::io);
  CHECK(absent.native == ENOENT);
  CHECK(failed == (folder.path / "absent/quire-spill-0").string());
  std::ofstream(folder.path / "quire-spill-1") << "somebody's diary, which is no spill file";
  CHECK(files.open(folder.path.string(), failed).code == errc::corrupt);
  CHECK(failed == (folder.path / "quire-spill-1").string());
  CHECK(files.pools().empty());
  CHECK(std::filesystem::file_size(folder.path / "quire-spill-0") == 0);
  CHECK(std::filesystem::file_size(folder.path / "quire-spill-1") > 0);
  std::filesystem::remove(folder.path / "quire-spill-1");
  CHECK(files.open(folder.path.string(), failed));
}

TEST_CASE("a sequence comes back from files byte for byte, and not at all where a byte of it was damaged") {
  const scratch folder("swap_files_moves");
  fixture f;
  std::string failed;
  kv::swap_files files(f.store, f.options);
  REQUIRE(files.open(folder.path.string(), failed));
  tier::copy_thread link(files.pools());
  kv::swapper swapper(f.store, link, f.options);
  std::uint32_t h = 0;
  REQUIRE(swapper.open(h));
  const auto each_byte = [&](auto&& visit) {
    f.store.for_each_page(swapper.sequence(h), [&](std::uint32_t p, std::uint32_t, std::uint32_t page) {
      for (std::size_t b = 0; b < f.store.pool(p).page_bytes(); ++b) visit(f.store.pool(p).page(page)[b]);
    });
  };
  REQUIRE(f.store.reserve(swapper.sequence(h), 200));
  REQUIRE(f.store.commit(swapper.sequence(h), 200));
  std::vector<std::byte> written;
  each_byte([&](std::byte& at) { written.push_back(at = static_cast<std::byte>(written.size() * 31 >> 3)); });
  REQUIRE(written.size() > 1000);
  for (const bool damaged : {false, true}) {
    REQUIRE(swapper.try_swap_out(h));
    swapper.wait(h);
    REQUIRE(swapper.kept(h) == 200);
    if (damaged)  // half of every slot in the first file
      for (std::uintmax_t at = 64; at + 8 < std::filesystem::file_size(folder.path / "quire-spill-0"); at += 16) {
        std::fstream file(folder.path / "quire-spill-0", std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(static_cast<std::streamoff>(at)) << "damaged!" << std::flush;
      }
    REQUIRE(swapper.begin_swap_in(h));
    swapper.wait(h);
    CHECK(swapper.ready(h) == !damaged);
    if (damaged) {
      CHECK(swapper.last(h).code == errc::corrupt);
      CHECK(swapper.kept(h) == 0);
    } else {
      std::vector<std::byte> back;
      each_byte([&](std::byte at) { back.push_back(at); });
      CHECK(back == written);
    }
  }
  REQUIRE(swapper.counts().lost_parts > 0);
  REQUIRE(swapper.check());
}
