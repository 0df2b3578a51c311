// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <iterator>
#include <string>
#include <string_view>

#include "../core/random.hpp"

namespace quire::inline v0::evaluate {
namespace detail {

inline constexpr std::string_view people[] = {
    "the baker", "a tired clerk", "the harbour pilot", "my neighbour", "the youngest nurse", "an old tailor", "the bus driver",
    "a quiet student", "the gardener", "our teacher", "the night porter", "a travelling cook", "the carpenter", "the librarian",
    "a careful mason", "the postman", "the shepherd", "a young singer", "the beekeeper", "the watchmaker", "an honest grocer",
    "the ferryman", "the plumber", "a retired judge", "the potter", "the dentist", "a cheerful sailor", "the mayor", "the bookbinder",
    "a farmhand", "the chimney sweep", "the painter"};
inline constexpr std::string_view deeds[] = {
    "counted", "repaired", "carried away", "forgot", "painted", "washed", "borrowed", "sold", "found", "measured", "covered", "polished",
    "hid", "unpacked", "stacked", "admired", "returned", "sorted", "weighed", "inspected", "collected", "described", "lifted", "dried",
    "ordered", "cleaned", "traded", "kept", "lost", "wrapped", "dropped", "emptied"};
inline constexpr std::string_view things[] = {
    "the empty crates", "a broken lantern", "two wet coats", "the garden chairs", "a basket of pears", "the brass kettle",
    "an unread letter", "some rusty tools", "the copper pans", "a torn map", "the heavy curtains", "three clay jars", "the spare wheel",
    "a wooden ladder", "the kitchen scales", "a bundle of reeds", "the church candles", "an old umbrella", "the school desks",
    "a sack of flour", "the fishing nets", "a silk ribbon", "the winter boots", "some loose bricks", "the train tickets",
    "a jar of honey", "the market stall", "a folded blanket", "the piano stool", "four tin plates", "the stable door", "a coil of wire"};
inline constexpr std::string_view times[] = {
    "before breakfast", "after the rain", "on a windy evening", "while the soup cooled", "near the end of autumn", "without a word",
    "as the shops closed", "in the early light", "during the long strike", "behind the station", "at the foot of the hill",
    "with great patience", "under a grey sky", "just before noon", "beside the canal", "when nobody looked", "for the second time",
    "on the way to town", "in front of the inn", "between two storms", "until the lamps came on", "once the guests had left",
    "along the narrow lane", "by the open window", "after a short rest", "in spite of the cold", "to everyone's surprise",
    "before the ferry came", "at the edge of the wood", "in the middle of the week", "while the dog slept", "as quickly as possible"};

}  // namespace detail

/// A sentence of harmless prose, without digits: what facts are hidden in. Three forms over four lists of 32, about three million
/// different ones. cost: one allocation or two. test: tests/evaluate/filler.cpp
inline std::string filler_sentence(splitmix64& draw) {
  const auto pick = [&](const auto& list) { return list[static_cast<std::size_t>(draw.below(std::size(list)))]; };
  const std::string who(pick(detail::people)), what(pick(detail::things)), when(pick(detail::times));
  const std::string deed(pick(detail::deeds));
  std::string s;
  switch (draw.below(3)) {
    case 0: s = who + " " + deed + " " + what + " " + when + "."; break;
    case 1: s = when + ", " + who + " " + deed + " " + what + "."; break;
    default: s = "it was " + who + " who " + deed + " " + what + " " + when + "."; break;
  }
  if (s[0] >= 'a' && s[0] <= 'z') s[0] = static_cast<char>(s[0] - 'a' + 'A');
  return s;
}

}  // namespace quire::inline v0::evaluate
