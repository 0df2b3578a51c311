#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The checks themselves: a small tree that keeps every rule passes, and each rule complains about the tree that breaks it."""
import pathlib
import sys
import tempfile
import unittest

import check
import compile as headers_alone

GOOD = {
    "include/quire/version.hpp": "#pragma once\n",
    "include/quire/quire.hpp": '#pragma once\n#include "core/config.hpp"\n#include "kv/run.hpp"\n',
    "include/quire/core/config.hpp": '#pragma once\n#include "../version.hpp"\n#if defined(__CUDACC__)\n#define QUIRE_HD x\n#endif\n',
    "include/quire/core/simd.hpp": "#pragma once\n#include <hwy/highway.h>\nnamespace quire::inline v0::simd::inline QUIRE_ISA {}\n",
    "include/quire/kv/run.hpp": '#pragma once\n#include <cstdint>\n#include "../core/config.hpp"\nnamespace quire::inline v0::kv {\n'
                                "// #if in a comment, \"hwy/highway.h\", std::abort()\n/*\n#if 1\n*/\n"
                                'inline const char* text() { return "#include <regex> std::abort()"; }\n'
                                "inline int million() { return 1'000'000; }\n}\n",
    "include/quire/kv/cpu/scan.hpp": '#pragma once\n#include "../../core/simd.hpp"\n#include "../run.hpp"\n'
                                     "namespace quire::inline v0::kv::inline QUIRE_ISA {}\n",
    "include/quire/attention/cuda/fold.cuh": "#pragma once\n#include <cuda_runtime.h>\n#include <cub/warp/warp_reduce.cuh>\n"
                                             '#include "../../kv/run.hpp"\nnamespace quire::inline v0::cuda {}\n',
    "tests/core/simd.cpp": "",
    "tests/kv/run.cpp": "",
    "tests/kv/cpu/scan.cpp": "",
    "tests/attention/cuda/fold.cu": "",
}


def tree(changes):
    folder = tempfile.TemporaryDirectory()
    for path, text in {**GOOD, **changes}.items():
        if text is None:
            continue
        file = pathlib.Path(folder.name, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        bare = text.startswith("!")
        file.write_text(text[1:] if bare else check.SPDX + "\n" + text, encoding="utf-8")
    return folder


BODY = "#pragma once\n{}\nnamespace quire::inline v0 {{}}\n"  # the line under test is line 3 (after the licence)


class Rules(unittest.TestCase):
    def breaches(self, changes):
        with tree(changes) as root:
            return check.check(root)

    def bad(self, path, line, rule, text, extra=None, where=3):
        """`line` in a header with a test of its own is refused once, for `rule`, with its place and `text` in the message."""
        changes = {f"include/quire/{path}": BODY.format(line), f"tests/{path.rsplit('.', 1)[0]}.cpp": "", **(extra or {})}
        if not check.is_cpu(path) and path.endswith(".hpp") and "/" in path and "include/quire/quire.hpp" not in changes:
            changes["include/quire/quire.hpp"] = GOOD["include/quire/quire.hpp"] + f'#include "{path}"\n'
        found = [b for b in self.breaches(changes) if b.startswith(f"include/quire/{path}:{where}: {rule}: ")]
        self.assertEqual(len(found), 1, self.breaches(changes))
        self.assertIn(text, found[0])

    def test_a_good_tree_passes(self):
        self.assertEqual(self.breaches({}), [])

    def test_an_empty_tree_is_not_good(self):
        with tempfile.TemporaryDirectory() as root:
            self.assertTrue(check.check(root))

    def test_arrows(self):
        self.bad("core/back.hpp", '#include "../kv/run.hpp"', "arrow", "core may not include kv")
        self.bad("schedule/order.hpp", '#include "../kv/run.hpp"', "arrow", "schedule may not include kv")
        self.bad("tier/place.hpp", '#include "../kv/run.hpp"', "arrow", "tier may not include kv")
        leaf = {"include/quire/evaluate/score.hpp": BODY.format(""), "tests/evaluate/score.cpp": ""}
        self.bad("serve/loop.hpp", '#include "../evaluate/score.hpp"', "arrow", "serve may not include evaluate", leaf)
        self.bad("offload/experts.hpp", '#include "../evaluate/score.hpp"', "arrow", "offload may not include evaluate", leaf)
        self.bad("kv/whole.hpp", '#include "../quire.hpp"', "arrow", "quire.hpp is for programs")
        self.bad("cellar/wine.hpp", "", "arrow", "room cellar", where=1)

    def test_every_arrow_that_is_not_in_the_table_is_refused(self):
        for room in check.ARROWS:
            for other in check.ARROWS:
                changes = {f"include/quire/{other}/a.hpp": BODY.format(""), f"include/quire/{room}/b.hpp": BODY.format(f'#include "../{other}/a.hpp"')}
                refused = any(": arrow: " in b for b in self.breaches(changes))
                self.assertEqual(refused, other != room and other not in check.ARROWS[room], f"{room} -> {other}")

    def test_includes_stay_inside(self):
        self.bad("kv/far.hpp", '#include "../../../examples/lm/gguf.hpp"', "arrow", "leaves include/quire")
        self.bad("kv/none.hpp", '#include "nowhere.hpp"', "arrow", "names no header")
        self.bad("kv/abs.hpp", "#include <quire/core/config.hpp>", "third party", "neither")

    def test_third_party(self):
        self.bad("kv/json.hpp", "#include <nlohmann/json.hpp>", "third party", "nlohmann/json.hpp")
        self.bad("kv/spaced.hpp", "  #  include   <nlohmann/json.hpp>", "third party", "nlohmann/json.hpp")
        self.bad("kv/vector.hpp", "#include <hwy/highway.h>", "third party", "only under */cpu/")
        self.bad("kv/wide.hpp", "#include <immintrin.h>", "third party", "core/simd.hpp")
        self.bad("kv/gpu.hpp", "#include <cuda_runtime.h>", "third party", "cuda_runtime.h")
        self.bad("kv/system.hpp", "#include <unistd.h>", "third party", "only from tier/")
        self.bad("kv/simd_user.hpp", '#include "../core/simd.hpp"', "arrow", "only kernel headers")
        self.bad("kv/kernel_user.hpp", '#include "cpu/scan.hpp"', "arrow", "only kernel headers")
        device = {"include/quire/kv/copy.cuh": BODY.format(""), "tests/kv/copy.cu": ""}
        self.bad("kv/copy_user.hpp", '#include "copy.cuh"', "arrow", "needs nvcc", device)

    def test_quire_hpp(self):
        kernels = GOOD["include/quire/quire.hpp"] + '#include "kv/cpu/scan.hpp"\n'
        self.assertTrue(any("quire.hpp:5: arrow: kv/cpu/scan.hpp is not a host header" in b
                            for b in self.breaches({"include/quire/quire.hpp": kernels})))
        short = '#pragma once\n#include "core/config.hpp"\n'
        self.assertEqual(self.breaches({"include/quire/quire.hpp": short}),
                         ["include/quire/quire.hpp:1: all: does not include kv/run.hpp"])

    def test_banned(self):
        for name in check.BANNED:
            self.bad("kv/heavy.hpp", f"#include <{name}>", "banned", name)

    def test_conditionals(self):
        for line in ("#if 1", "#ifdef X", "  # ifndef X", "#elif 1"):
            self.bad("kv/maybe.hpp", line, "conditional", "core/config.hpp")

    def test_macros(self):
        self.bad("kv/macro.hpp", "#define HELPER 1", "macro", "does not start with QUIRE_")
        many = "\n".join(f"#define QUIRE_M{i}" for i in range(check.MACROS_AT_MOST))  # and QUIRE_HD
        self.bad("kv/macros.hpp", many, "macro", "one macro too many", where=2 + check.MACROS_AT_MOST)

    def test_shape(self):
        self.bad("kv/long.hpp", "\n" * check.LINES_AT_MOST, "length", "at most 400", where=check.LINES_AT_MOST + 4)
        self.bad("kv/open.hpp", "using namespace std;", "namespace", "reaches every includer")
        for text, rule in (("!#pragma once\nnamespace quire::inline v0 {}\n", "licence"), ("namespace quire::inline v0 {}\n", "once"),
                           ("#pragma once\nnamespace quire {}\n", "namespace")):
            found = self.breaches({"include/quire/kv/run.hpp": text})
            self.assertEqual([b.split(": ")[:2] for b in found], [["include/quire/kv/run.hpp:1", rule]])
        found = self.breaches({"include/quire/kv/cpu/scan.hpp": "#pragma once\nnamespace quire::inline v0 {}\n"})
        self.assertTrue(any("QUIRE_ISA" in b for b in found), found)

    def test_quiet(self):
        for line in ("void f() { std::abort(); }", "void f() { ::exit(1); }", 'void f() { printf("x"); }', "void f() { std::cerr << 1; }"):
            self.bad("kv/loud.hpp", line, "quiet", "never print")
        self.assertFalse(any(": quiet: " in b for b in self.breaches(
            {"include/quire/kv/run.hpp": BODY.format("void f(queue& q) { q.exit(1); detail::exit(2); std::snprintf(0, 0, 0); }")})))

    def test_mirror(self):
        self.assertEqual(self.breaches({"tests/kv/run.cpp": None}), ["include/quire/kv/run.hpp:1: mirror: no tests/kv/run.cpp"])
        self.assertTrue(any("version.hpp" in b and "mirror" in b for b in self.breaches({"include/quire/version.hpp": None})))

    def test_pages_name_what_exists(self):
        page = "!Text.\n\n`include/quire/kv/run.hpp`, `tests/`, `tests/kv/gone.cpp`\n"
        self.assertEqual(self.breaches({"docs/a.md": page}), ["docs/a.md:3: page: names tests/kv/gone.cpp, which does not exist"])


class Compiling(unittest.TestCase):
    CXX = "g++"

    def failures(self, group, changes):
        with tree(changes) as root:
            return headers_alone.run(root, group, self.CXX)[1]

    def test_a_header_that_leans_on_another_fails(self):
        leaning = "#pragma once\nnamespace quire::inline v0 { inline std::uint32_t one() { return 1; } }\n"
        found = self.failures("host", {"include/quire/kv/run.hpp": leaning})
        self.assertEqual({f.split(":")[0] for f in found}, {"kv/run.hpp", "quire.hpp"})
        self.assertIn("std", found[0])

    def test_a_warning_fails(self):
        shadow = "#pragma once\nnamespace quire::inline v0 { inline int f(int a) { { int a = 1; return a; } } }\n"
        self.assertTrue(self.failures("host", {"include/quire/kv/run.hpp": shadow}))

    def test_exceptions_and_rtti_fail_where_they_are_refused(self):
        throws = "#pragma once\nnamespace quire::inline v0 { inline void f() { throw 1; } }\n"
        asks = "#pragma once\n#include <typeinfo>\nnamespace quire::inline v0 { inline const char* f() { return typeid(int).name(); } }\n"
        needs = {"include/quire/" + p: throws for p in headers_alone.NEEDS_EXCEPTIONS}
        for text in (throws, asks):
            changes = {**needs, "include/quire/core/simd.hpp": "#pragma once\n", "include/quire/kv/cpu/scan.hpp": text}
            self.assertEqual(len(self.failures("noexcept", changes)), 1)
            self.assertEqual(self.failures("cpu", changes), [])

    def test_what_includes_an_excused_header_is_excused(self):
        excused = "core/owner.hpp"
        throws = "#pragma once\nnamespace quire::inline v0 { inline void f() { throw 1; } }\n"
        changes = {"include/quire/" + excused: throws, "include/quire/core/simd.hpp": "#pragma once\n",
                   "include/quire/kv/cpu/scan.hpp": '#pragma once\n#include "../../core/owner.hpp"\n'}
        before = dict(headers_alone.NEEDS_EXCEPTIONS)
        try:
            headers_alone.NEEDS_EXCEPTIONS.clear()
            self.assertEqual(len(self.failures("noexcept", changes)), 1)
            headers_alone.NEEDS_EXCEPTIONS[excused] = "for this test"
            self.assertEqual(self.failures("noexcept", changes), [])
        finally:
            headers_alone.NEEDS_EXCEPTIONS.clear()
            headers_alone.NEEDS_EXCEPTIONS.update(before)

    def test_an_excuse_that_is_not_needed_fails(self):
        idle = {"include/quire/" + p: "#pragma once\n" for p in headers_alone.NEEDS_EXCEPTIONS}
        found = self.failures("noexcept", {**idle, "include/quire/core/simd.hpp": "#pragma once\n"})
        self.assertEqual(len(found), len(headers_alone.NEEDS_EXCEPTIONS))

    def test_the_cache_forgets_what_changed(self):
        with tree({}) as root, tempfile.TemporaryDirectory() as cache:
            self.assertEqual(headers_alone.run(root, "host", self.CXX, cache)[1], [])
            self.assertEqual(headers_alone.run(root, "host", self.CXX, cache)[1], [])
            pathlib.Path(root, "include/quire/core/config.hpp").write_text(check.SPDX + "\n#pragma once\nnonsense\n", encoding="utf-8")
            found = headers_alone.run(root, "host", self.CXX, cache)[1]
            self.assertEqual(len(found), 3, found)  # config.hpp, run.hpp and quire.hpp reach it


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] == "--cxx":
        Compiling.CXX = sys.argv[2]
        del sys.argv[1:3]
    unittest.main()
