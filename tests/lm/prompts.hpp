// SPDX-License-Identifier: Apache-2.0
// Prompts for SmolLM2-135M-Instruct.Q4_1.gguf and the first 16 tokens another program chooses after each.
// from: llama.cpp (llama-cpp-python 0.3.36 sources), greedy, f16 cache, 2 threads; control tokens in a prompt count, and
// the model's end tokens don't stop it.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace lm_test {

struct continued {
  std::string_view prompt;
  std::array<std::int32_t, 16> tokens;
};

inline constexpr continued prompts[] = {
    {"The capital of France is",
     {7042, 30, 198, 198, 504, 1797, 1918, 553, 253, 2155, 282, 4723, 216, 35, 33, 33}},
    {"Once upon a time, in a small village by the sea, there lived an old fisherman who",
     {761, 253, 7388, 3365, 3906, 4075, 30, 2306, 436, 253, 1942, 284, 9154, 8664, 351, 253}},
    {"The three primary colours are red,",
     {10245, 28, 284, 5724, 30, 1216, 359, 260, 805, 14797, 338, 1822, 281, 260, 6128, 30}},
    {"Water boils at 100 degrees Celsius at sea level because",
     {260, 2388, 506, 2817, 314, 11606, 411, 260, 2591, 506, 10959, 284, 5264, 30, 1423, 28}},
    {"In 1969, the first humans landed on the Moon. The mission was called",
     {260, 17600, 216, 33, 33, 30, 378, 17600, 216, 33, 33, 436, 253, 1898, 4677, 826}},
    {"def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n    if n < 2:\n        return n\n",
     {198, 19, 12066, 6486, 42, 198, 3272, 24, 38572, 46477, 24, 33, 32, 1292, 216, 907}},
    {"#include <stdio.h>\n\nint main(void) {\n    for (int i = 0; i < 10; i++) {\n",
     {19, 342, 1604, 12288, 24873, 448, 1628, 86, 1470, 89, 42, 2471, 84, 76, 94, 1002}},
    {"SELECT name, COUNT(*) FROM orders\nJOIN customers ON",
     {6348, 30, 311, 446, 9112, 30, 31678, 79, 311, 198, 14779, 14298, 9112, 30, 31678, 79}},
    {"{\"name\": \"Alice\", \"age\": 30, \"languages\": [\"English\", \"French\"], \"address\": {",
     {472, 476, 33660, 1799, 476, 33, 34, 35, 6586, 7216, 1002, 472, 476, 20721, 1799, 476}},
    {"Shopping list:\n1. Milk\n2. Eggs\n3. Bread\n4.",
     {40698, 198, 37, 30, 32489, 198, 198, 504, 2988, 314, 42, 216, 36, 30, 32489, 2}},
    {"- Monday: swimming\n- Tuesday: running\n- Wednesday:",
     {11494, 198, 29, 14963, 42, 15417, 1128, 198, 29, 11655, 42, 4732, 198, 29, 14986, 42}},
    {"2 + 2 = 4\n3 + 3 = 6\n4 + 4 = 8\n5 + 5 =",
     {216, 33, 32, 198, 198, 504, 2028, 282, 623, 2966, 314, 216, 33, 37, 30, 2}},
    {"If a train travels 60 miles in 1.5 hours, its average speed is",
     {216, 33, 30, 37, 1232, 216, 38, 32, 446, 216, 38, 37, 4158, 567, 5353, 30}},
    {"La capitale de l'Espagne est",
     {16520, 26411, 385, 6337, 287, 23, 419, 26411, 385, 6337, 367, 2618, 1091, 3546, 519, 28}},
    {"Der Hund läuft durch den Wald und sieht",
     {253, 15094, 30, 198, 198, 788, 3697, 28, 260, 8715, 476, 52, 292, 43424, 297, 254}},
    {"El sol brilla en el cielo y los niños",
     {198, 198, 13793, 265, 956, 95, 1599, 1102, 265, 956, 95, 329, 20624, 39112, 10214, 395}},
    {"日本の首都は",
     {29917, 10391, 112, 11100, 241, 11100, 120, 10391, 118, 11100, 121, 10391, 128, 11100, 249, 11100}},
    {"<|im_start|>user\nWhat is the largest planet in our solar system?<|im_end|>\n<|im_start|>assistant\n",
     {504, 3995, 3925, 281, 653, 3693, 817, 314, 30461, 28, 527, 314, 4723, 216, 33, 36}},
    {"<|im_start|>system\nYou are a helpful assistant that answers briefly.<|im_end|>\n<|im_start|>user\nWrite a haiku about autumn rain 🌧.<|im_end|>\n<|im_start|>assistant\n",
     {788, 260, 1911, 282, 260, 15339, 28, 253, 9154, 29999, 11046, 260, 21630, 282, 5249, 28}},
    {"# A short guide to making tea\n\nTea is one of the oldest drinks in the world. To make a good cup, you need fresh water, a kettle, and a few minutes of patience. Black tea wants water that has just boiled, while green tea is better a little cooler, around 80 °C. Let the leaves steep for three to five minutes.\n\n## What you need\n",
     {198, 29, 330, 44328, 198, 29, 330, 1443, 3487, 282, 9369, 198, 29, 330, 1443, 3487}},
};

}  // namespace lm_test
