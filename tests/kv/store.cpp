// SPDX-License-Identifier: Apache-2.0
#include "quire/kv/store.hpp"

#include <memory>
#include <random>

#include "catch.hpp"
#include "kv/scribe.hpp"
#include "quire/kv/codec/balanced.hpp"
#include "quire/kv/codec/integer.hpp"
#include "quire/kv/layout/head_split.hpp"
#include "quire/kv/image.hpp"
#include "quire/kv/layout/overlay.hpp"
#include "tier/guarded_memory.hpp"

using namespace quire;

namespace {

using int4 = kv::codec_pair<kv::integer<4, kv::group::column>, kv::integer<4, kv::group::row>>;

/// What a store promises, said as plainly as possible: a tile is a counted object, a dropped tile is null.
template <kv::Layout L>
class shadow {
 public:
  static constexpr bool raw = std::is_same_v<typename L::sealed_pair, typename L::raw_pair>;
  struct counted {
    std::uint32_t& used;
    explicit counted(std::uint32_t& u) : used(u) { ++used; }
    ~counted() { --used; }
    counted(const counted&) = delete;
    counted& operator=(const counted&) = delete;
  };
  struct sequence {
    bool live = false, tail = false;
    std::uint32_t length = 0;
    std::int64_t exact = -1;  // tile whose exact rows the tail holds
    std::vector<std::shared_ptr<counted>> tiles[L::max_groups];
    std::uint32_t overlay = 0;  // pages of exact tokens
  };

  shadow(const L& layout, const kv::store_options<L>& o) : layout_(layout), options_(o), sequences(o.sequences) {}
  ~shadow() { sequences.clear(); }

  errc open(std::uint32_t& s) {
    for (s = 0; s < sequences.size(); ++s)
      if (!sequences[s].live) return sequences[s].live = true, errc::ok;
    return errc::out_of_pages;
  }
  void close(std::uint32_t s) {
    if (known(s)) sequences[s] = {};
  }
  bool known(std::uint32_t s) const { return s < sequences.size() && sequences[s].live; }
  std::uint32_t free(std::uint32_t pool) const {
    if (pool < L::max_groups) return options_.pages[pool] - used_[pool];
    std::uint32_t tails = 0, overlays = 0;
    for (const auto& s : sequences) tails += s.tail, overlays += s.overlay;
    return pool == L::max_groups ? options_.sequences - tails : options_.overlay_pages - overlays;
  }
  std::array<std::uint64_t, L::max_groups + 2> need(std::uint32_t s, std::uint32_t tokens) const {
    std::array<std::uint64_t, L::max_groups + 2> d{};
    if (!known(s) || tokens == 0) return d;
    for (std::uint32_t g = 0; g < layout_.groups(); ++g) {
      const std::uint64_t want = std::min<std::uint64_t>(std::uint64_t{sequences[s].length} + tokens, 0xffffffffu) / 64, have = sequences[s].tiles[g].size();
      d[g] = want > have ? want - have : 0;
    }
    d[L::max_groups] = !sequences[s].tail;
    const std::uint64_t exact = layout_.overlay_tiles(sequences[s].length + std::min(tokens, ~sequences[s].length));
    d[L::max_groups + 1] = exact > sequences[s].overlay ? exact - sequences[s].overlay : 0;
    return d;
  }
  errc reserve(std::uint32_t s, std::uint32_t tokens) {
    if (!known(s)) return errc::unknown_sequence;
    if (std::uint64_t{sequences[s].length} + tokens > options_.max_tokens) return errc::out_of_range;
    const auto d = need(s, tokens);
    for (std::uint32_t p = 0; p < d.size(); ++p)
      if (d[p] > free(p)) return errc::out_of_pages;
    for (std::uint32_t g = 0; g < layout_.groups(); ++g)
      for (std::uint64_t i = 0; i < d[g]; ++i) sequences[s].tiles[g].push_back(std::make_shared<counted>(used_[g]));
    if (tokens != 0) sequences[s].tail = true;
    sequences[s].overlay += static_cast<std::uint32_t>(d[L::max_groups + 1]);
    return errc::ok;
  }
  errc commit(std::uint32_t at, std::uint32_t tokens) {
    if (!known(at)) return errc::unknown_sequence;
    sequence& s = sequences[at];
    if (tokens == 0) return errc::ok;
    const std::uint64_t room = s.tail ? std::min<std::uint64_t>(options_.max_tokens, s.tiles[0].size() * 64 + 63) : 0;
    if (std::uint64_t{s.length} + tokens > room) return errc::out_of_range;
    s.length += tokens;
    s.exact = (s.length - 1) / 64;
    for (std::uint32_t g = 0; g < layout_.groups(); ++g)
      for (std::uint32_t t = 0; t < s.length / 64; ++t)
        if (unseen(g, s.length, t)) s.tiles[g][t] = nullptr;
    return errc::ok;
  }
  errc fork(std::uint32_t from, std::uint32_t& to) {
    if (!known(from)) return errc::unknown_sequence;
    if (sequences[from].tail && free(L::max_groups) == 0) return errc::out_of_pages;
    if (layout_.overlay_tiles(sequences[from].length) > free(L::max_groups + 1)) return errc::out_of_pages;
    if (const errc e = open(to); e != errc::ok) return e;
    sequences[to] = sequences[from];
    sequences[to].overlay = layout_.overlay_tiles(sequences[from].length);
    for (auto& table : sequences[to].tiles)
      if (table.size() > sequences[to].length / 64) table.resize(sequences[to].length / 64);
    return errc::ok;
  }
  errc truncate(std::uint32_t at, std::uint32_t length) {
    if (!known(at)) return errc::unknown_sequence;
    sequence& s = sequences[at];
    if (length > s.length) return errc::out_of_range;
    if (length == s.length) return errc::ok;
    if (!rewindable(s, length)) return errc::not_rewindable;
    for (std::uint32_t g = 0; g < layout_.groups(); ++g) s.tiles[g].resize(length / 64);
    s.exact = length % 64 != 0 ? length / 64 : -1;
    s.overlay = std::min(s.overlay, layout_.overlay_tiles(length));
    s.length = length;
    return errc::ok;
  }
  bool rewindable(const sequence& s, std::uint32_t length) const {
    const std::uint32_t tile = length / 64;
    if (length != 0 && length != s.length && L::overlays) return false;  // what later tokens let go is gone
    if (L::compensates && length != 0)  // tiles that were summed since can't be taken out of the sums
      for (std::uint32_t t = 0; t < s.length / 64; ++t)
        if (unseen(1, s.length, t) && !unseen(1, length, t)) return false;
    for (std::uint32_t g = 0; g < layout_.groups(); ++g)
      for (std::uint32_t t = 0; t < tile; ++t)
        if (!s.tiles[g][t] && !unseen(g, length, t)) return false;
    if (length % 64 == 0 || s.exact == tile) return true;
    for (std::uint32_t g = 0; g < layout_.groups(); ++g)
      if (!s.tiles[g][tile]) return false;
    return raw;
  }
  std::size_t bytes(std::uint32_t at) const {
    const sequence& s = sequences[at];
    std::size_t bytes = s.tail ? kv::tail_bytes(layout_) + layout_.state().bytes() : 0;
    bytes += s.overlay * kv::overlay_page_bytes(layout_);
    for (std::uint32_t g = 0; g < layout_.groups(); ++g)
      for (const auto& t : s.tiles[g]) bytes += t ? kv::page_bytes(layout_, g) : 0;
    return bytes;
  }

 private:
  /// Token by token: no query from `length` on sees anything of the tile.
  bool unseen(std::uint32_t g, std::uint32_t length, std::uint32_t t) const {
    const kv::visibility v = layout_.group_sees(g);
    if (!v.limited() || t * 64 < v.sinks) return false;
    const std::uint32_t query = v.by_tile ? length / 64 * 64 : length;
    const std::int64_t window = std::max(v.window, v.share != 0 ? (query + 1) / v.share : 0), last = std::int64_t{query} - window;  // the newest token it doesn't see
    return v.by_tile ? (last + 1) / 64 > t : std::int64_t{t} * 64 + 63 <= last;
  }

  L layout_;
  kv::store_options<L> options_;
  std::uint32_t used_[L::max_groups] = {};

 public:
  std::vector<sequence> sequences;
};

/// Whether store and model agree in everything that can be asked; `reason` says where not.
template <kv::Layout L>
bool agree(const kv::store<L>& store, const shadow<L>& model, const char*& reason) {
  reason = "check()";
  if (!store.check()) return false;
  for (std::uint32_t p = 0; p < L::max_groups + 2; ++p)
    if (reason = "free_pages", store.free_pages(p) != model.free(p)) return false;
  for (std::uint32_t s = 0; s < model.sequences.size(); ++s) {
    const auto& m = model.sequences[s];
    if (reason = "known", store.known(s) != m.live) return false;
    if (reason = "length", store.length(s) != m.length) return false;
    if (reason = "bytes", store.bytes(s) != model.bytes(s)) return false;
    if (m.tail && m.tiles[0].size() == m.length / 64 && m.overlay == store.layout().overlay_tiles(m.length))
      if (reason = "sequence_bytes", store.bytes(s) != kv::sequence_bytes(store.layout(), m.length)) return false;
  }
  return true;
}

template <kv::Layout L>
void wander(const L& layout, std::uint32_t operations, unsigned seed) {
  kv::store_options<L> options{.sequences = 8, .max_tokens = 700};
  options.pages[0] = 36;
  if constexpr (L::max_groups > 1) options.pages[1] = 20;
  if constexpr (L::overlays) options.overlay_pages = 12;
  kv::store<L> store(layout, options);
  shadow<L> model(layout, options);
  std::mt19937 random(seed);
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  std::uint32_t refused[16] = {}, done = 0;
  const char* reason = "";
  for (std::uint32_t i = 0; i < operations; ++i) {
    const std::uint32_t s = below(40) == 0 ? 8 + below(3) * 1000000 : below(8), dice = below(100);
    const std::uint32_t length = store.length(s);
    errc want = errc::ok, got = errc::ok;
    const char* name = "";
    status answer{};
    if (dice < 8) {
      std::uint32_t a = 77, b = 0;
      name = "open", want = model.open(b), answer = store.open(a);
      if (answer ? a != b : a != 77) want = errc::corrupt;
    } else if (dice < 12) {
      name = "close", model.close(s), store.close(s);
    } else if (dice < 42) {
      const std::uint32_t n = below(30) == 0 ? 0xffffffffu - below(800) : below(20) == 0 ? 0 : below(10) == 0 ? below(800) : 1 + below(90);
      const auto demand = store.need(s, n);
      const auto expected = model.need(s, n);
      bool fit = true;
      for (std::uint32_t p = 0; p < expected.size(); ++p) {
        if (demand.pages[p] != expected[p]) want = errc::corrupt, name = "need";
        fit = fit && expected[p] <= model.free(p);
      }
      if (store.fits(demand) != fit) want = errc::corrupt, name = "fits";
      if (want == errc::ok) name = "reserve", want = model.reserve(s, n), answer = store.reserve(s, n);
      if (want == errc::out_of_pages && fit) want = errc::corrupt, name = "fits promised what reserve refused";
    } else if (dice < 72) {
      const std::uint32_t n = below(30) == 0 ? 0xffffffffu - below(800) : below(20) == 0 ? 0 : 1 + below(90);
      name = "commit", want = model.commit(s, n), answer = store.commit(s, n);
    } else if (dice < 78) {
      std::uint32_t a = 77, b = 0;
      name = "fork", want = model.fork(s, b), answer = store.fork(s, a);
      if (answer ? a != b : a != 77) want = errc::corrupt;
    } else {
      const std::uint32_t to = below(20) == 0 ? length + 1 + below(500) : below(3) == 0 ? below(length + 1) / 64 * 64 : length - std::min(length, below(100));
      name = "truncate", want = model.truncate(s, to), answer = store.truncate(s, to);
      if (answer.code == errc::not_rewindable)
        for (std::int64_t l = answer.low; l <= answer.high; ++l)
          if (!model.rewindable(model.sequences[s], static_cast<std::uint32_t>(l)) && l != answer.high) want = errc::corrupt, name = "the range truncate names";
    }
    got = answer.code;
    if (!answer && (answer.what == nullptr || *answer.what == 0 || (answer.value >= answer.low && answer.value <= answer.high))) {
      if (answer.code != errc::unknown_sequence) name = "a refusal whose value lies in the allowed range", want = errc::corrupt;
    }
    answer ? ++done : ++refused[static_cast<int>(got)];
    const bool same = agree(store, model, reason);
    if (got != want || !same) {
      INFO("operation " << i << ": " << name << " on sequence " << s << " of length " << length << ": " << describe(answer) << ", expected "
                        << quire::name(want) << "; " << (same ? "states agree" : reason));
      FAIL();
    }
  }
  INFO("done " << done);
  CHECK(done > operations / 3);  // the walk neither starves nor only succeeds
  for (errc e : {errc::out_of_pages, errc::unknown_sequence, errc::out_of_range}) CHECK(refused[static_cast<int>(e)] > operations / 1000);
  if (!shadow<L>::raw || layout.groups() > 1) CHECK(refused[static_cast<int>(errc::not_rewindable)] > operations / 1000);
  for (std::uint32_t s = 0; s < 8; ++s) store.close(s);
  CHECK(store.free_pages(0) == options.pages[0]);
  CHECK(store.free_pages(L::max_groups) == 8);
  CHECK(store.free_pages(L::max_groups + 1) == options.overlay_pages);
}

/// `==` of statuses compares addresses of names, which sanitizers keep apart.
bool is(const status& s, errc code, const std::string& what, std::int64_t value, std::int64_t low, std::int64_t high) {
  UNSCOPED_INFO(describe(s));
  return s.code == code && s.what == what && s.value == value && s.low == low && s.high == high;
}

constexpr extents tiny{1, 2, 8};
constexpr std::uint8_t first_keeps_all[] = {1, 0};

}  // namespace

TEST_CASE("a million random operations leave a paged store as the model says") {
  wander(kv::paged<kv::raw_bf16>(tiny), 500000, 1);
  wander(kv::paged<int4>(tiny), 500000, 2);
}

TEST_CASE("a million random operations leave a head split store as the model says") {
  const kv::head_classes classes(tiny, first_keeps_all);
  wander(kv::head_split<kv::raw_bf16>(tiny, classes, {.sinks = 70, .window = 100}), 400000, 3);
  wander(kv::head_split<int4>(tiny, classes, {.sinks = 64, .window = 128}), 400000, 4);
  wander(kv::head_split<int4>(tiny, classes, {.sinks = 0, .window = 1}), 200000, 5);
}

TEST_CASE("half a million random operations leave stores with means and overlays as the model says") {
  const kv::head_classes classes(tiny, first_keeps_all);
  using mean = kv::head_split<int4, kv::raw_bf16, kv::remainder::mean_token>;
  wander(mean(tiny, classes, kv::retain::sinks_window{.sinks = 70, .window = 100}), 100000, 6);
  wander(mean(tiny, classes, kv::retain::scaled_window{.sinks = 64, .least = 100, .share = 3}), 100000, 7);
  wander(kv::overlay<kv::paged<int4>>(kv::paged<int4>(tiny), {.share = 0.3f}, 700), 100000, 8);
  wander(kv::overlay<kv::paged<kv::raw_bf16>, kv::rest::drop>(kv::paged<kv::raw_bf16>(tiny), {.share = 0.2f, .least = 32}, 700), 100000, 9);
  wander(kv::overlay<mean>(mean(tiny, classes, kv::retain::sinks_window{.sinks = 64, .window = 64}), {.share = 0.3f}, 700), 100000, 10);
}

TEST_CASE("contents survive forks truncation and growth again") {
  const kv::head_classes classes({2, 2, 8}, std::vector<std::uint8_t>{1, 0, 0, 1});
  const kv::retain::sinks_window streaming{.sinks = 64, .window = 100};
  const auto all = [](const auto& layout, unsigned seed) {
    kv_test::scribe book(layout, 4, 800);
    std::mt19937 random(seed);
    const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
    std::uint32_t rewound = 0, forked = 0, sealed = 0;
    for (int i = 0; i < 400; ++i) {
      const std::uint32_t s = below(4);
      switch (below(8)) {
        case 0: book.open(); break;
        case 1: forked += book.fork(s); break;
        case 2: if (below(3) == 0) book.close(s); break;
        case 3: case 4: rewound += book.truncate(s, book.store.length(s) - std::min(book.store.length(s), below(160))); break;
        default: book.append(s, 1 + below(150));
      }
      for (std::uint32_t k = 0; k < 4; ++k) sealed += book.verify(k);
      REQUIRE(book.store.check());
    }
    CHECK(rewound > 10);
    CHECK(forked > 2);
    CHECK(sealed > 1000);
  };
  all(kv::paged<kv::raw_bf16>({2, 2, 8}), 1);
  all(kv::paged<kv::raw_f32, kv::raw_f32>({2, 2, 8}), 2);
  all(kv::paged<int4>({2, 2, 8}), 3);
  all(kv::head_split<kv::raw_bf16>({2, 2, 8}, classes, streaming), 4);
  all(kv::head_split<int4, kv::raw_f32>({2, 2, 8}, classes, streaming), 5);
}

TEST_CASE("a fork shares sealed pages and then goes its own way") {
  kv_test::scribe book(kv::paged<int4>({1, 2, 8}), 3, 512);
  book.open();
  book.append(0, 150);
  const std::uint32_t before = book.store.free_pages(0);
  REQUIRE(book.fork(0));
  CHECK(book.store.free_pages(0) == before);
  const auto v = book.store.view();
  CHECK(v.sealed(0, 0, 1, 1) == v.sealed(1, 0, 1, 1));
  CHECK(v.tail(0, 0, 1) != v.tail(1, 0, 1));
  book.append(0, 60);
  book.append(1, 60);
  CHECK(book.store.view().sealed(0, 0, 1, 2) != book.store.view().sealed(1, 0, 1, 2));
  CHECK(std::memcmp(book.store.view().sealed(0, 0, 1, 2), book.store.view().sealed(1, 0, 1, 2), book.store.layout().sealed().key_bytes(8)) != 0);
  book.store.close(0);
  book.verify(1);
  CHECK(book.store.free_pages(0) == book.store.options().pages[0] - 3);
}

TEST_CASE("raw layouts rewind to any length") {
  kv_test::scribe book(kv::paged<kv::raw_f16, kv::raw_f16>({1, 2, 8}), 1, 512);
  for (std::uint32_t to = 0; to <= 300; ++to) {
    book.open();
    book.append(0, 300);
    REQUIRE(book.truncate(0, to));
    book.verify(0);
    book.append(0, 70);
    book.verify(0);
    book.close(0);
  }
}

TEST_CASE("quantized layouts rewind to tile boundaries or inside the newest tile and name that range") {
  kv_test::scribe book(kv::paged<int4>({1, 2, 8}), 1, 512);
  for (std::uint32_t length : {128u, 129u, 180u, 191u, 192u})
    for (std::uint32_t to = 0; to <= length; ++to) {
      book.open();
      book.append(0, length);
      const std::uint32_t newest = (length - 1) / 64 * 64;
      const status s = book.store.truncate(0, to);
      CAPTURE(length, to, describe(s));
      REQUIRE(static_cast<bool>(s) == (to % 64 == 0 || to >= newest));
      if (!s) REQUIRE(is(s, errc::not_rewindable, "length", to, newest, length));
      if (!s) REQUIRE(book.store.length(0) == length);
      book.store.close(0);
      book.forget(0);
    }
  book.open();
  book.append(0, 200);
  REQUIRE(book.truncate(0, 128));  // the exact rows of tile 1 are gone: only boundaries are left
  REQUIRE(is(book.store.truncate(0, 100), errc::not_rewindable, "length", 100, 128, 128));
  REQUIRE(book.truncate(0, 64));
  book.append(0, 90);
  REQUIRE(book.truncate(0, 130));
  book.verify(0);
}

TEST_CASE("a head split refuses to rewind where dropped tiles are needed") {
  const kv::head_classes classes(tiny, first_keeps_all);
  using L = kv::head_split<kv::raw_bf16>;
  kv_test::scribe book(L(tiny, classes, {.sinks = 64, .window = 100}), 1, 1024);
  book.open();
  book.append(0, 600);  // the next query sees positions 501 on: tiles 1..6 of the streaming group are gone
  for (std::uint32_t to : {599u, 576u, 550u, 547u}) {
    kv_test::scribe again(L(tiny, classes, {.sinks = 64, .window = 100}), 1, 1024);
    again.open();
    again.append(0, 600);
    CAPTURE(to);
    CHECK(again.truncate(0, to));
    again.verify(0);
  }
  for (std::uint32_t to : {546u, 512u, 300u, 129u}) {
    const status s = book.store.truncate(0, to);
    CAPTURE(to, describe(s));
    CHECK(is(s, errc::not_rewindable, "length", to, 576, 600));
  }
  CHECK(book.truncate(0, 128 - 64));  // sinks and nothing else
  book.verify(0);
  book.append(0, 500);
  book.verify(0);
}

TEST_CASE("every failing call names what was wrong") {
  kv::store<kv::paged<int4>> store(kv::paged<int4>(tiny), {.sequences = 2, .max_tokens = 300, .pages = {3}});
  std::uint32_t a = 9, b = 9, c = 9;
  CHECK(is(store.reserve(0, 1), errc::unknown_sequence, "sequence", 0, 0, 1));
  REQUIRE(store.open(a));
  REQUIRE(store.open(b));
  CHECK(is(store.open(c), errc::out_of_pages, "sequences", 3, 0, 2));
  CHECK(c == 9);
  CHECK(is(store.reserve(a, 301), errc::out_of_range, "tokens of the sequence", 301, 1, 300));
  CHECK(is(store.reserve(a, 256), errc::out_of_pages, "pages", 4, 0, 3));
  CHECK(is(store.commit(a, 1), errc::out_of_range, "tokens to commit", 1, 0, 0));
  REQUIRE(store.reserve(a, 70));
  CHECK(is(store.commit(a, 128), errc::out_of_range, "tokens to commit", 128, 0, 127));
  REQUIRE(store.commit(a, 70));
  CHECK(is(store.commit(a, 0xffffffffu - 10), errc::out_of_range, "tokens to commit", 0xffffffffu - 10, 0, 57));
  CHECK(is(store.truncate(a, 71), errc::out_of_range, "length", 71, 0, 70));
  CHECK(is(store.fork(7, c), errc::unknown_sequence, "sequence", 7, 0, 1));
  CHECK(store.fork(a, c).code == errc::out_of_pages);
  CHECK(store.bytes(7) == 0);
  CHECK(store.length(7) == 0);
  store.close(7);
  CHECK(store.check());
}

TEST_CASE("steps of at most a chunk fit into what pages_for gives") {
  const kv::head_classes classes(tiny, first_keeps_all);
  for (std::uint32_t sinks : {0u, 1u, 64u, 70u, 200u})
    for (std::uint32_t window : {1u, 64u, 100u, 333u})
      for (std::uint32_t chunk : {1u, 63u, 64u, 100u, 512u}) {
        const kv::head_split<int4> layout(tiny, classes, {.sinks = sinks, .window = window});
        kv::store store(layout, kv::pages_for(layout, 2, 1500, chunk));
        std::uint32_t s[2];
        REQUIRE(store.open(s[0]));
        REQUIRE(store.open(s[1]));
        CAPTURE(sinks, window, chunk);
        for (std::uint32_t at = 0; at < 1500;) {
          const std::uint32_t n = std::min(chunk, 1500 - at);
          for (std::uint32_t i : s) {
            if (!store.reserve(i, n) || !store.commit(i, n)) FAIL("refused at " << at);
            if (store.bytes(i) != kv::sequence_bytes(layout, at + n)) FAIL("bytes differ from the formula at " << at + n);
          }
          at += n;
        }
        REQUIRE(store.check());
      }
}

TEST_CASE("sequences that grow in turn keep their tiles in few runs, and all pages can still be used") {
  const kv::paged<kv::raw_bf16> layout(tiny);
  const auto runs = [&](std::uint32_t group_pages) {
    kv::store_options<kv::paged<kv::raw_bf16>> o{.sequences = 5, .max_tokens = 64 * 64, .group_pages = group_pages};
    o.pages[0] = 160;
    kv::store store(layout, o);
    std::uint32_t s[5], found = 0;
    for (auto& x : s) REQUIRE(store.open(x));
    for (int tile = 0; tile < 32; ++tile)
      for (const std::uint32_t x : s) {
        REQUIRE(store.reserve(x, 64));
        REQUIRE(store.commit(x, 64));
      }
    CHECK(store.free_pages(0) == 0);
    for (const std::uint32_t x : s) found += kv::count_runs({store.view().sequences[x].pages[0], 32});
    REQUIRE(store.check());
    return found;
  };
  CHECK(runs(1) == 5 * 32);
  CHECK(runs(8) == 5 * 4);
  CHECK(runs(32) == 5);
}

TEST_CASE("truncation says which tiles are not what they were when they were copied") {
  kv::store store(kv::paged<kv::raw_bf16>(tiny), kv::pages_for(kv::paged<kv::raw_bf16>(tiny), 2, 700));
  std::uint32_t s = 0, t = 0;
  REQUIRE(store.open(s));
  REQUIRE(store.reserve(s, 300));
  REQUIRE(store.commit(s, 300));
  CHECK(store.copied(s) == 0);
  store.note_copied(s);
  CHECK(store.copied(s) == 4);
  REQUIRE(store.truncate(s, 200));
  REQUIRE(store.reserve(s, 300));
  REQUIRE(store.commit(s, 300));
  CHECK(store.copied(s) == 3);
  REQUIRE(store.fork(s, t));
  CHECK(store.copied(t) == 0);
  store.close(s);
  REQUIRE(store.open(s));
  CHECK(store.copied(s) == 0);
}

TEST_CASE("a page held from outside outlives its sequence and can be taken back by the next one") {
  const kv::paged<int4> layout(tiny);
  kv_test::scribe book(layout, 2, 700);
  book.open();
  REQUIRE(book.append(0, 130));
  const kv::sequence_mark mark = book.store.mark(0);
  const std::uint32_t first = book.store.view().sequences[0].pages[0][0];
  book.store.pool(0).share(first);
  const auto written = book.written[0];
  book.close(0);
  const auto held = [&](std::uint32_t p, std::vector<std::uint32_t>& references) {
    if (p == 0) ++references[first];
  };
  CHECK_FALSE(book.store.check());
  REQUIRE(book.store.check(held));
  std::uint32_t s = 9;
  REQUIRE(book.store.adopt(mark, s, [&](std::uint32_t g, std::uint32_t t) { return g == 0 && t == 0 ? first : book.store.absent; }));
  CHECK(book.store.view().sequences[s].pages[0][0] == first);
  CHECK(book.store.pool(0).references(first) == 2);
  book.store.pool(0).release(first);
  REQUIRE(book.store.check());
  CHECK(book.store.length(s) == 130);
}

TEST_CASE("a sequence begins with tiles that others hold and they live as long as anyone holds them") {
  kv_test::scribe book(kv::paged<int4>({1, 2, 8}), 3, 512);
  using tile = decltype(book.store)::tile_type;
  book.open();
  book.append(0, 150);
  const std::vector<tile> tiles{book.store.tile(0, 0), book.store.tile(0, 1)};
  const std::uint32_t before = book.store.free_pages(0), all = book.store.options().pages[0];
  book.open();
  REQUIRE(book.store.attach(1, tiles));
  book.written[1].assign(book.written[0].begin(), book.written[0].begin() + 128);
  book.verify(1);
  CHECK(book.store.free_pages(0) == before);
  CHECK(book.store.bytes(1) == kv::sequence_bytes(book.store.layout(), 128));
  CHECK(is(book.store.truncate(1, 127), errc::not_rewindable, "length", 127, 128, 128));  // exact rows were never here
  book.append(1, 100);
  book.verify(1);
  CHECK(book.store.tile(1, 1) == tiles[1]);
  REQUIRE(book.fork(1));
  REQUIRE(book.truncate(2, 64));
  book.verify(2);
  for (const tile& t : tiles) book.store.hold(t);
  CHECK_FALSE(book.store.check());
  CHECK(book.store.check(tiles));
  for (std::uint32_t s : {0u, 1u, 2u}) book.close(s);
  CHECK(book.store.free_pages(0) == all - 2);
  CHECK(book.store.check(tiles));
  book.open();
  REQUIRE(book.store.attach(0, std::span(tiles).first(1)));
  for (const tile& t : tiles) book.store.drop(t);
  CHECK(book.store.free_pages(0) == all - 1);
  CHECK(book.store.check());
}

TEST_CASE("tiles attach to empty sequences alone, as many as a sequence may have") {
  kv::store<kv::paged<int4>> store(kv::paged<int4>(tiny), {.sequences = 3, .max_tokens = 200, .pages = {9}});
  using tile = decltype(store)::tile_type;
  std::uint32_t a = 0, b = 0;
  REQUIRE(store.open(a));
  CHECK(is(store.attach(1, {}), errc::unknown_sequence, "sequence", 1, 0, 2));
  REQUIRE(store.reserve(a, 192));
  REQUIRE(store.commit(a, 192));
  std::vector<tile> tiles;
  for (std::uint32_t t : {0u, 1u, 2u, 0u}) tiles.push_back(store.tile(a, t));
  CHECK(is(store.attach(a, tiles), errc::out_of_range, "tokens reserved before the shared ones", 192, 0, 0));
  REQUIRE(store.open(b));
  CHECK(is(store.attach(b, tiles), errc::out_of_range, "shared tiles", 4, 0, 3));
  REQUIRE(store.attach(b, {}));
  CHECK(store.bytes(b) == 0);
  REQUIRE(store.reserve(b, 64));
  CHECK(is(store.attach(b, std::span(tiles).first(1)), errc::out_of_range, "tokens reserved before the shared ones", 1, 0, 0));
  REQUIRE(store.commit(b, 64));
  store.replace(b, 0, tiles[0]);
  CHECK(store.tile(b, 0) == tiles[0]);
  CHECK(store.view().sealed(b, 0, 1, 0) == store.view().sealed(a, 0, 1, 0));
  CHECK(store.free_pages(0) == 6);
  store.replace(b, 0, tiles[0]);  // by itself
  CHECK(store.free_pages(0) == 6);
  CHECK(store.check());
}

TEST_CASE("a state block begins as new, is copied by a fork and counts commits") {
  using layout_type = kv::head_split<int4, kv::raw_bf16, kv::remainder::mean_token>;
  const kv::head_classes classes({1, 2, 8}, std::vector<std::uint8_t>{1, 0});
  const layout_type layout({1, 2, 8}, classes, kv::retain::sinks_window{64, 100});
  kv::store store(layout, kv::pages_for(layout, 3, 1000));
  const auto bytes = [&](std::uint32_t s) {
    const kv::state_block b = store.state(s);
    return std::vector<std::byte>(b.data, b.data + b.bytes);
  };
  std::uint32_t a = 0, b = 0, c = 0;
  REQUIRE(store.open(a));
  const auto as_new = bytes(a);
  REQUIRE(as_new.size() > 16);
  CHECK(store.state(a).steps == 0);
  for (const std::uint32_t n : {10u, 60u, 200u}) {
    REQUIRE(store.reserve(a, n));
    REQUIRE(store.commit(a, n));
  }
  REQUIRE(store.commit(a, 0));  // none
  CHECK(store.state(a).steps == 3);
  std::fill_n(store.state(a).data, as_new.size(), std::byte{0x5a});
  REQUIRE(store.fork(a, b));
  CHECK(bytes(b) == bytes(a));
  CHECK(store.state(b).steps == 3);
  store.state(b).data[0] = std::byte{1};
  CHECK(bytes(a)[0] == std::byte{0x5a});  // its own
  const kv::sequence_mark mark = store.mark(a);
  store.close(a);
  store.close(b);
  REQUIRE(store.open(c));
  CHECK(bytes(c) == as_new);
  CHECK(store.state(c).steps == 0);
  REQUIRE(store.adopt(mark, a));
  CHECK(store.state(a).steps == 3);
  CHECK(store.mark(a).steps == 3);
}

TEST_CASE("a tail is cleared before it is another sequence's") {
  const kv::paged<int4> layout({1, 1, 8});
  kv::store store(layout, kv::pages_for(layout, 1, 200));
  std::uint32_t s = 0;
  const auto tail = [&] { return std::span(store.view().sequences[s].tail, kv::tail_bytes(layout)); };
  for (int round = 0; round < 2; ++round) {
    REQUIRE(store.open(s));
    REQUIRE(store.reserve(s, 70));
    CHECK(std::all_of(tail().begin(), tail().end(), [](std::byte x) { return x == std::byte{0}; }));
    std::fill(tail().begin(), tail().end(), std::byte{0xff});  // rows that were not finite, say
    store.close(s);
  }
}

TEST_CASE("a mark that no sequence of the layout has is refused and takes nothing") {
  const kv::head_classes classes({1, 2, 8}, std::vector<std::uint8_t>{1, 0});
  const kv::head_split<int4> layout({1, 2, 8}, classes, kv::retain::sinks_window{64, 100});
  kv::store store(layout, kv::pages_for(layout, 2, 1000));
  std::uint32_t s = 0;
  REQUIRE(store.open(s));
  REQUIRE(store.reserve(s, 500));
  REQUIRE(store.commit(s, 500));
  const kv::sequence_mark good = store.mark(s);
  store.close(s);
  const std::size_t free_before = store.free_bytes();
  s = 77;
  for (std::uint32_t from = good.kept_from[1] + 1; from <= 7; ++from) {  // tiles that its window still sees
    kv::sequence_mark bad = good;
    bad.kept_from[1] = from;
    const status refused = store.adopt(bad, s);
    CHECK(refused.code == errc::corrupt);
    CHECK(std::string(refused.what) == "first kept tile");
    CHECK(s == 77);
    CHECK(store.free_bytes() == free_before);
  }
  kv::sequence_mark torn = good;
  torn.raw_tile = 3;
  CHECK(store.adopt(torn, s).code == errc::corrupt);
  REQUIRE(store.adopt(good, s));
  REQUIRE(store.check());
}

namespace {

/// A store in host memory and one that the host can't touch, through the same calls; kernels' writes are random bytes.
template <kv::Layout L>
class twins {
 public:
  twins(const L& layout, unsigned seed) : near_(layout, options(layout, nullptr)), far_(layout, options(layout, &memory_)), random_(seed) {}

  void run(int steps) {
    for (int i = 0; i < steps; ++i) step();
    for (std::uint32_t s = 0; s < sequences; ++s) near_.close(s), far_.close(s);
    REQUIRE(near_.free_bytes() == far_.free_bytes());
    REQUIRE(far_.check());
  }

 private:
  static constexpr std::uint32_t sequences = 5, most = 600;
  static kv::store_options<L> options(const L& layout, tier::memory* where) {
    auto o = kv::pages_for(layout, 4, most, 200);
    o.sequences = sequences, o.memory = where;
    return o;
  }
  std::uint32_t draw(std::uint32_t n) { return static_cast<std::uint32_t>(random_() % n); }
  void scrawl(std::byte* near, std::byte* far, std::size_t n) {
    std::vector<std::byte> bytes(n);
    for (auto& b : bytes) b = static_cast<std::byte>(random_());
    std::memcpy(near, bytes.data(), n);
    REQUIRE(memory_.write(far, bytes));
  }
  void append(std::uint32_t s, std::uint32_t n) {
    const status a = near_.reserve(s, n), b = far_.reserve(s, n);
    REQUIRE(a == b);
    if (!a) return;
    const std::uint32_t length = near_.length(s);
    for (std::uint32_t g = 0; g < near_.layout().groups(); ++g)
      for (std::uint32_t t = tiles_filled(length); t < tiles_filled(length + n); ++t) {
        const std::uint32_t page = near_.view().sequences[s].pages[g][t];
        scrawl(near_.pool(g).page(page), far_.pool(g).page(page), near_.pool(g).page_bytes());
      }
    const std::size_t part = kv::tail_bytes(near_.layout()) / 2;  // the rest keeps what it held: zeros of a new tail
    scrawl(near_.view().sequences[s].tail, far_.view().sequences[s].tail, part);
    for (std::uint32_t i = 0; i < near_.layout().overlay_tiles(length + n); ++i) {
      const std::uint32_t page = near_.view().sequences[s].overlay[i];
      scrawl(near_.pool(kv::store<L>::overlays).page(page), far_.pool(kv::store<L>::overlays).page(page), near_.pool(kv::store<L>::overlays).page_bytes());
    }
    scrawl(near_.view().sequences[s].state, far_.view().sequences[s].state, near_.layout().state().bytes());
    REQUIRE(near_.commit(s, n));
    REQUIRE(far_.commit(s, n));
  }
  void compare(std::uint32_t s) {
    if (!near_.known(s)) return;
    std::vector<std::byte> a(kv::image_bytes(near_, s)), b(kv::image_bytes(far_, s));
    REQUIRE(kv::export_sequence(near_, s, a));
    REQUIRE(kv::export_sequence(far_, s, b));
    REQUIRE(a == b);
    image_ = a;
  }
  void step() {
    std::uint32_t a = 77, b = 77;
    const std::uint32_t s = draw(sequences);
    switch (draw(7)) {
      case 0: REQUIRE(near_.open(a) == far_.open(b)); break;
      case 1: near_.close(s), far_.close(s); break;
      case 2: REQUIRE(near_.fork(s, a) == far_.fork(s, b)); break;
      case 3: {
        const std::uint32_t to = near_.length(s) == 0 ? 0 : draw(near_.length(s) + 1);
        REQUIRE(near_.truncate(s, to) == far_.truncate(s, to));
        break;
      }
      case 4:
        if (!image_.empty()) REQUIRE(kv::import_sequence(near_, image_, a) == kv::import_sequence(far_, image_, b));
        break;
      default: append(s, 1 + draw(150));
    }
    REQUIRE(a == b);
    for (std::uint32_t i : {s, a}) compare(i);
  }

  tier_test::guarded_memory memory_;
  kv::store<L> near_, far_;
  std::mt19937 random_;
  std::vector<std::byte> image_;
};

}  // namespace

TEST_CASE("a store in memory that the host can't touch holds what one in host memory does") {
  const extents e{2, 2, 8};
  const kv::head_classes classes(e, std::vector<std::uint8_t>{1, 0, 0, 1});
  twins(kv::paged<int4>(e), 1).run(600);
  twins(kv::paged<kv::raw_bf16>(e), 2).run(600);  // truncation brings exact rows back
  twins(kv::head_split<int4>(e, classes, kv::retain::sinks_window{64, 100}), 3).run(600);
  twins(kv::head_split<kv::raw_bf16, kv::raw_bf16, kv::remainder::mean_token>(e, classes, kv::retain::sinks_window{64, 100}), 4).run(300);  // with a state block
  using balanced = kv::codec_pair<kv::balanced<kv::integer<4, kv::group::row>>, kv::integer<4, kv::group::row>>;
  twins(kv::overlay<kv::paged<balanced>>(kv::paged<balanced>(e), {.share = 0.3f}, 600), 5).run(300);  // one that is not zeros at first, and overlays
}

TEST_CASE("what a memory refuses comes out of an image, and nothing is taken") {
  const kv::paged<int4> layout({1, 1, 8});
  tier_test::guarded_memory memory;
  auto o = kv::pages_for(layout, 2, 200);
  o.memory = &memory;
  kv::store store(layout, o);
  std::uint32_t s = 0;
  REQUIRE(store.open(s));
  REQUIRE(store.reserve(s, 130));
  REQUIRE(store.commit(s, 130));
  std::vector<std::byte> image(kv::image_bytes(store, s));
  REQUIRE(kv::export_sequence(store, s, image));
  const std::size_t free_before = store.free_bytes();
  memory.refuses = true;
  std::vector<std::byte> other(image.size());
  CHECK(kv::export_sequence(store, s, other).code == errc::device);
  std::uint32_t made = 77;
  CHECK(kv::import_sequence(store, image, made).code == errc::device);
  CHECK(made == 77);
  CHECK(store.free_bytes() == free_before);
  REQUIRE(store.check());
}
