// SPDX-License-Identifier: Apache-2.0
// A token store that remembers prefixes and swaps slowly: transfers take some polls, host room is short, rows get lost.
#pragma once

#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "fake_model.hpp"

namespace test {

class hooked_store {
 public:
  static constexpr std::uint32_t tile = 4;
  struct troubles {
    std::uint32_t delay = 3;         ///< polls a transfer takes
    std::uint32_t host_rows = 1000;  ///< room for rows that are away
    std::uint32_t lose_one_in = 0;   ///< 0: nothing is lost
    unsigned seed = 1;
  };
  hooked_store(std::uint32_t pages, troubles t) : store_(pages, tile), troubles_(t), random_(t.seed) {}

  quire::status open(std::uint32_t& sequence) { return open({}, sequence); }
  quire::status open(std::span<const std::int32_t> tokens, std::uint32_t& sequence) {
    const std::uint32_t n = hit(tokens);
    if (const quire::status s = store_.open(sequence); !s) return s;
    if (const quire::status s = store_.reserve(sequence, n); !s) return store_.close(sequence), s;
    for (std::uint32_t i = 0; i < n; ++i) store_.row(sequence, i) = tokens[i];
    if (n != 0 && !store_.commit(sequence, n)) throw std::logic_error("commit");
    known_[sequence] = {.tokens = {tokens.begin(), tokens.end()}, .length = n};
    hits += n;
    return {};
  }
  quire::status reserve(std::uint32_t s, std::uint32_t tokens) { return store_.reserve(s, tokens); }
  quire::status commit(std::uint32_t s, std::uint32_t tokens) {
    known_.at(s).length += tokens;
    return store_.commit(s, tokens);
  }
  void close(std::uint32_t s) {
    entry& e = known_.at(s);
    host_rows_ -= e.host.size();
    store_.close(s);
    known_.erase(s);
  }
  quire::status fork(std::uint32_t from, std::uint32_t& to) {
    if (!present(from)) throw std::logic_error("a fork of what is not there");
    if (const quire::status s = store_.fork(from, to); !s) return s;
    known_[to] = known_.at(from);
    return {};
  }
  quire::status announce(std::uint32_t s, std::uint32_t prompt) {
    prompts.emplace_back(s, prompt);
    return {};
  }
  std::uint32_t length(std::uint32_t s) const { return known_.at(s).length; }
  std::size_t free_pages() const { return store_.free_pages(); }
  std::uint64_t capacity_tokens() const { return 1u << 20; }
  std::uint64_t free_tokens() const { return free_pages() * tile; }

  quire::status remember(std::uint32_t s, std::span<const std::int32_t> tokens) {
    entry& e = known_.at(s);
    e.tokens.assign(tokens.begin(), tokens.end());
    for (std::uint32_t n = tile; n <= e.length; n += tile) remembered_.insert({tokens.begin(), tokens.begin() + n});
    return {};
  }
  std::uint32_t hit(std::span<const std::int32_t> tokens) const {
    std::uint32_t n = 0;
    while (n + tile < tokens.size() && remembered_.count({tokens.begin(), tokens.begin() + n + tile})) n += tile;
    return n;
  }
  bool coming(std::span<const std::int32_t> tokens) const {
    const std::uint32_t next = hit(tokens) + tile;
    if (next >= tokens.size()) return false;
    for (const auto& [s, e] : known_)
      if (e.where == here && e.length < next && e.tokens.size() >= next && std::equal(tokens.begin(), tokens.begin() + next, e.tokens.begin()))
        return true;
    return false;
  }
  std::uint64_t pin(std::span<const std::int32_t> tokens) { return ++pins, pinned_tokens += tokens.size(), pins; }
  void unpin(std::uint64_t) { ++unpins; }

  quire::status swap_out(std::uint32_t s) {
    entry& e = known_.at(s);
    ++swaps;
    if (e.where == arriving) return e.where = leaving, e.polls = troubles_.delay, quire::status{};  // the other copy stands
    if (e.where != here) throw std::logic_error("swapped out twice");
    if (host_rows_ + e.length > troubles_.host_rows) return {quire::errc::out_of_pages, "host rows"};
    for (std::uint32_t i = 0; i < e.length; ++i) e.host.push_back(store_.row(s, i));
    host_rows_ += e.length;
    e.where = leaving, e.polls = troubles_.delay;
    return {};
  }
  quire::status swap_in(std::uint32_t s) {
    entry& e = known_.at(s);
    if (e.where == leaving) return {quire::errc::not_ready, "still leaving"};
    if (e.where != away) throw std::logic_error("swapped in twice");
    if (troubles_.lose_one_in != 0 && random_() % troubles_.lose_one_in == 0) return ++lost, quire::status{quire::errc::corrupt, "rows"};
    if (const quire::status r = store_.refill(s, e.length); !r) return r;
    e.where = arriving, e.polls = troubles_.delay;
    return {};
  }
  bool present(std::uint32_t s) const { return known_.at(s).where == here; }
  std::uint64_t leaving_tokens() const {
    std::uint64_t n = 0;
    for (const auto& [s, e] : known_)
      if (e.where == leaving) n += (e.length + tile - 1) / tile * tile;
    return n;
  }
  void poll() {
    for (auto& [s, e] : known_) {
      if (e.polls == 0 || --e.polls != 0) continue;
      if (e.where == leaving) {
        store_.drain(s);
        e.where = away;
      } else {
        if (troubles_.lose_one_in != 0 && random_() % troubles_.lose_one_in == 0) {  // the link dropped what came last
          ++lost_on_the_way;
          store_.drain(s);
          e.length = static_cast<std::uint32_t>(random_() % (e.length + 1)) / tile * tile;
          if (!store_.refill(s, e.length)) throw std::logic_error("refill");
        }
        for (std::uint32_t i = 0; i < e.length; ++i) store_.row(s, i) = e.host[i];
        host_rows_ -= e.host.size();
        e.host.clear();
        e.where = here;
      }
    }
  }
  void wait() { poll(); }
  std::int32_t& row(std::uint32_t s, std::uint32_t i) {
    if (!present(s)) throw std::logic_error("rows are read that are not there");
    return store_.row(s, i);
  }

  std::vector<std::pair<std::uint32_t, std::uint32_t>> prompts;   ///< announced: sequence, rows
  std::uint64_t hits = 0, swaps = 0, lost = 0, lost_on_the_way = 0, pins = 0, unpins = 0, pinned_tokens = 0;

 private:
  enum place : std::uint8_t { here, leaving, away, arriving };
  struct entry {
    std::vector<std::int32_t> tokens{}, host{};
    std::uint32_t length = 0, polls = 0;
    place where = here;
  };
  token_store store_;
  troubles troubles_;
  std::mt19937 random_;
  std::map<std::uint32_t, entry> known_;
  std::set<std::vector<std::int32_t>> remembered_;
  std::size_t host_rows_ = 0;
};

}  // namespace test
