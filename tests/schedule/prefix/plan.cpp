// SPDX-License-Identifier: Apache-2.0
#include "quire/schedule/prefix/plan.hpp"

#include "catch.hpp"
#include "piles.hpp"

using namespace quire::schedule::prefix;

namespace {

void require_sound(const prompt_list& prompts, const std::vector<double>& decode, const plan_options& o, const plan& made) {
  const std::size_t n = prompts.size();
  REQUIRE((made.places.size() == n && made.sequence.size() == n));
  for (std::uint32_t rank = 0; rank < n; ++rank) REQUIRE(made.places[made.sequence[rank]].rank == rank);  // a permutation
  std::vector<std::uint32_t> found(made.groups.size());
  for (const placement& p : made.places)
    if (p.group > 0) ++found.at(p.group - 1);
  std::uint64_t formula = 0;
  for (std::size_t k = 0; k < made.groups.size(); ++k) {
    const group& g = made.groups[k];
    REQUIRE((g.members >= 2 && g.members == found[k] && g.tokens > 0 && g.tokens % o.tile == 0));
    if (k > 0) REQUIRE(g.begin >= made.groups[k - 1].begin + made.groups[k - 1].members);
    const auto& first = prompts[made.sequence[g.begin]];
    for (std::uint32_t rank = g.begin; rank < g.begin + g.members; ++rank) {
      const auto& p = prompts[made.sequence[rank]];
      REQUIRE(made.places[made.sequence[rank]].group == k + 1);
      REQUIRE((p.size() > g.tokens && std::equal(first.begin(), first.begin() + g.tokens, p.begin())));
    }
    formula += (g.members - 1) * std::uint64_t{g.tokens};
  }
  REQUIRE(made.saved() == formula);
  double before = std::numeric_limits<double>::infinity();  // R falls along the sequence
  std::uint32_t lowest_before = 0;
  for (std::uint32_t rank = 0; rank < n;) {
    const std::uint32_t g = made.places[made.sequence[rank]].group;
    const std::uint32_t end = rank + (g == 0 ? 1 : made.groups[g - 1].members);
    double sum = 0;
    std::uint64_t prefill = g == 0 ? 0 : made.groups[g - 1].tokens;
    std::uint32_t lowest = 0xffffffffu;
    for (const std::uint64_t shared = prefill; rank < end; ++rank) {
      const std::uint32_t r = made.sequence[rank];
      prefill += prompts[r].size() - shared;
      sum += decode.empty() ? 0 : decode[r];
      lowest = std::min(lowest, r);
    }
    const double ratio = prefill == 0 ? 0 : sum / static_cast<double>(prefill);
    REQUIRE((ratio < before || (ratio == before && lowest > lowest_before)));
    before = ratio;
    lowest_before = lowest;
  }
}

}  // namespace

TEST_CASE("plan: laws on random piles") {
  std::mt19937_64 random(6);
  for (int round = 0; round < 300; ++round) {
    const prompt_list prompts = random_prompts(random, random() % 60, 1 + random() % 20, 1 + static_cast<std::int32_t>(random() % 4));
    std::vector<double> decode(random() % 3 == 0 ? 0 : prompts.size());
    for (double& d : decode) d = static_cast<double>(random() % 5);  // whole, so that sums do not depend on their order
    const views v(prompts);
    std::uint64_t saved_at_tile_1 = 0;
    for (const plan_options o : {plan_options{.tile = 1}, plan_options{.tile = 4}, plan_options{.tile = 4, .optimum = true}, plan_options{}}) {
      const plan made = make_plan(v.pile(), decode, o);
      require_sound(prompts, decode, o, made);
      const tree t = build_tree(v.pile(), {.tile = o.tile, .keep_last = true});
      REQUIRE(made.saved() == saved(t, o.optimum ? one_level_optimum(t) : first_level(t)));
      if (o.tile == 1) saved_at_tile_1 = made.saved();
      if (o.tile == 64) REQUIRE(made.saved() <= naive_saved(prompts));
    }
    prompt_list shuffled = prompts;
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    REQUIRE(make_plan(views(shuffled).pile(), {}, {.tile = 1}).saved() == saved_at_tile_1);
  }
}

TEST_CASE("plan: groups that decode most for their prefill come first, prefixes counted once") {
  prompt_list prompts;
  for (std::int32_t k = 0; k < 4; ++k) {  // a group of 128 + 10 each, and singles
    std::vector<std::int32_t> p(128, 1);
    p.insert(p.end(), 10, 10 + k);
    prompts.push_back(p);
  }
  prompts.push_back(std::vector<std::int32_t>(100, 2));
  prompts.push_back(std::vector<std::int32_t>(10, 3));
  const plan made = make_plan(views(prompts).pile(), std::vector<double>{42, 42, 42, 42, 101, 9});
  REQUIRE(made.groups.size() == 1);
  REQUIRE((made.groups[0].tokens == 128 && made.groups[0].members == 4));
  // 168 / 168 = 1 lies between 1.01 and 0.9
  REQUIRE(made.sequence.front() == 4);
  REQUIRE(made.sequence.back() == 5);
  REQUIRE((made.groups[0].begin == 1 && made.places[0].group == 1 && made.places[4].group == 0));
  REQUIRE(made.saved() == 3 * 128);
}

TEST_CASE("plan: equal prompts keep their last token; what is shorter than a tile is shared by nobody") {
  const prompt_list equal(3, std::vector<std::int32_t>(64, 1)), longer(3, std::vector<std::int32_t>(65, 1));
  REQUIRE(make_plan(views(equal).pile()).groups.empty());
  REQUIRE(make_plan(views(longer).pile()).saved() == 128);
  REQUIRE(make_plan(views(equal).pile(), {}, {.tile = 1}).saved() == 2 * 63);
  const plan none = make_plan(pile<std::int32_t>{});
  REQUIRE((none.sequence.empty() && none.groups.empty() && none.saved() == 0));
  const prompt_list empties(2);
  REQUIRE(make_plan(views(empties).pile(), std::vector<double>{1, 1}).sequence == std::vector<std::uint32_t>{0, 1});
}
