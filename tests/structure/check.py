#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rules that a compiler does not check: which room may include which, where `#if` may stand, how headers look.

usage: check.py ROOT        prints `file:line: rule: what is wrong` for each breach; exit status 1 when there is one
The tables below are the rules; widen one only together with docs/design.md.
"""
import pathlib
import re
import sys

# Room -> rooms it may include (besides itself). A room that is missing here is a breach, so a new room starts with a line.
NOT_LEAVES = {"core", "kv", "linear", "schedule", "plan", "calibrate", "attention", "tier", "serve"}
ARROWS = {
    "core": set(),
    "kv": {"core", "tier"},  # a store's pages have places in other tiers
    "linear": {"core"},
    "schedule": {"core"},  # tokens and bytes, never tensors: the same object drives a simulation and a cluster
    "plan": {"core"},
    "calibrate": {"core"},
    "tier": {"core"},  # bytes, not meaning
    "attention": {"core", "kv"},
    "serve": {"core", "schedule", "kv", "attention", "tier"},
    "offload": NOT_LEAVES,  # leaves: nothing includes them
    "diffusion": NOT_LEAVES,
    "evaluate": NOT_LEAVES,
}
ROOT_HEADERS = {"quire.hpp", "version.hpp"}  # version.hpp may be included by core; nothing includes quire.hpp

CONDITIONALS = {"core/config.hpp", "core/simd.hpp", "core/amx.hpp", "tier/huge_pages.hpp", "core/device.cuh"}  # the only files with #if, #ifdef, #ifndef, #elif
MACROS_AT_MOST = 4  # besides QUIRE_VERSION_*
OTHERS_MACROS = {"HWY_WANT_AVX3_DL"}  # settings of a dependency that is wrong without them
LINES_AT_MOST = 400
BANNED = {"iostream", "ranges", "regex", "format"}  # what one of them costs every includer is more than what it gives
STANDARD = set("""
algorithm any array atomic barrier bit bitset charconv chrono codecvt compare complex concepts condition_variable coroutine
deque exception execution filesystem forward_list fstream functional future initializer_list iomanip ios iosfwd istream iterator
latch limits list locale map memory memory_resource mutex new numbers numeric optional ostream queue random ratio
scoped_allocator semaphore set shared_mutex source_location span sstream stack stdexcept stop_token streambuf string string_view
strstream syncstream system_error thread tuple type_traits typeindex typeinfo unordered_map unordered_set utility valarray variant
vector version cassert cctype cerrno cfenv cfloat cinttypes climits clocale cmath csetjmp csignal cstdarg cstddef cstdint cstdio
cstdlib cstring ctime cuchar cwchar cwctype
""".split())
POSIX = {"sys/syscall.h", "fcntl.h", "unistd.h", "sys/mman.h", "sys/stat.h", "sys/types.h", "sys/uio.h", "sys/socket.h"}  # tier/ alone
CUDA = re.compile(r"(cuda[\w/]*(\.h|\.hpp)?|cuda/.*|cub/.*|thrust/.*|cublas\w*\.h|mma\.h|cooperative_groups.*|nvtx3/.*)$")

# A header whose partner would have nothing to test; every line says why. The partner is tests/<same path>.cpp.
NO_PARTNER = {
    "quire.hpp": "a list of includes; tests/odr.cpp compiles it into every test",
    "version.hpp": "three macros; the installed consumer compares them with the package version",
    "core/config.hpp": "macros; every other test goes through them",
}

SPDX = "// SPDX-License-Identifier: Apache-2.0"
LOUD = re.compile(r"(?:std\s*::|(?<![\w>)\]])::)\s*(?:abort|exit|quick_exit|_Exit|terminate)\s*\(|\bstd\s*::\s*(?:cout|cerr|clog)\b"
                  r"|(?<![\w.>])(?:f?printf|fputs|puts|putchar|perror)\s*\(")


def code_of(text):
    """The text with comments and the insides of literals blanked; line breaks and include names stay."""
    token = re.compile(r'//[^\n]*|/\*.*?\*/|R"([^()\s\\]{0,16})\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])+\'', re.S)

    def blank(match):
        piece = match.group(0)
        if piece[0] == '"' and re.search(r"#\s*include\s*$", text[text.rfind("\n", 0, match.start()) + 1:match.start()]):
            return piece
        return re.sub(r"[^\n]", " ", piece)

    return token.sub(blank, text)


def includes_of(code):
    """(line, opening sign, name) of every #include."""
    for number, line in enumerate(code.split("\n"), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]*)[>"]', line)
        if match:
            yield number, match.group(1), match.group(2).strip()


def is_cpu(path):
    """Kernel headers: what needs Highway and follows the unit's -m flags."""
    return path in ("core/simd.hpp", "core/amx.hpp") or "cpu" in path.split("/")[:-1]


def headers_of(root):
    base = pathlib.Path(root, "include/quire")
    return sorted(p.relative_to(base).as_posix() for p in base.rglob("*") if p.suffix in (".hpp", ".cuh", ".h", ".inl"))


def check(root):
    root = pathlib.Path(root)
    base = root / "include/quire"
    headers = headers_of(root)
    known = set(headers)
    breaches = []
    macros = {}

    def breach(path, line, rule, what):
        breaches.append(f"include/quire/{path}:{line}: {rule}: {what}")

    if not headers:
        breaches.append("include/quire:0: tree: no header found")
    for path in headers:
        text = (base / path).read_text(encoding="utf-8")
        code = code_of(text)
        lines = code.split("\n")
        room = path.split("/")[0] if "/" in path else ""
        device = path.endswith(".cuh")

        if text.split("\n")[0] != SPDX:
            breach(path, 1, "licence", f"the first line must be `{SPDX}`")
        if not any(re.match(r"\s*#\s*pragma\s+once\b", l) for l in lines):
            breach(path, 1, "once", "no #pragma once")
        count = text.count("\n")
        if count > LINES_AT_MOST:
            breach(path, count, "length", f"{count} lines, at most {LINES_AT_MOST}: a header states one idea")
        if room and room not in ARROWS:
            breach(path, 1, "arrow", f"room {room} is not in the table of arrows")
        if not room and path not in ROOT_HEADERS:
            breach(path, 1, "tree", "a header belongs to a room")
        if room and "namespace" in code and not re.search(r"\bnamespace\s+quire::inline\s+v0\b", code):
            breach(path, 1, "namespace", "everything sits in quire::inline v0")
        if is_cpu(path) and not re.search(r"\binline\s+(namespace\s+)?QUIRE_ISA\b", code):
            breach(path, 1, "namespace", "kernels sit in an inline namespace QUIRE_ISA, or units with other flags share symbols")

        for number, line in enumerate(lines, 1):
            if re.match(r"\s*#\s*(if|ifdef|ifndef|elif|elifdef|elifndef)\b", line) and path not in CONDITIONALS:
                breach(path, number, "conditional", "#if stands only in " + ", ".join(sorted(CONDITIONALS)))
            match = re.match(r"\s*#\s*define\s+(\w+)", line)
            if match:
                name = match.group(1)
                if name in OTHERS_MACROS:
                    continue
                if not name.startswith("QUIRE_"):
                    breach(path, number, "macro", f"{name} does not start with QUIRE_")
                elif not name.startswith("QUIRE_VERSION_") and name not in macros:
                    macros[name] = (path, number)
                    if len(macros) > MACROS_AT_MOST:
                        breach(path, number, "macro", f"{name} is one macro too many; there are " + ", ".join(sorted(macros)[:9]))
            if re.match(r"using\s+namespace\b", line):
                breach(path, number, "namespace", "using namespace in a header reaches every includer")
            match = LOUD.search(line)
            if match:
                breach(path, number, "quiet", f"`{match.group(0).strip()}`: headers never print, abort or exit; report a status")

        for number, sign, name in includes_of(code):
            if sign == '"':
                target = pathlib.PurePosixPath(path).parent / name
                parts = []
                for part in target.parts:  # resolve .. by text: the tree has no links
                    if part == ".." and parts and parts[-1] != "..":
                        parts.pop()
                    elif part != ".":
                        parts.append(part)
                target = "/".join(parts)
                if target.startswith("../"):
                    breach(path, number, "arrow", f"\"{name}\" leaves include/quire")
                elif target not in known:
                    breach(path, number, "arrow", f"\"{name}\" names no header; includes are relative to the file")
                else:
                    check_arrow(path, room, device, number, target, breach)
            else:
                check_system(path, room, device, number, name, breach)

        if path not in NO_PARTNER:
            partner = path.rsplit(".", 1)[0]
            kinds = (".cpp", ".cu") if device else (".cpp",)
            if not any((root / "tests" / (partner + kind)).is_file() for kind in kinds):
                breach(path, 1, "mirror", f"no tests/{partner}.cpp")
    for path in NO_PARTNER:
        if path not in known:
            breach(path, 0, "mirror", "is excused from having a test but does not exist")
    if "quire.hpp" in known:
        named = {name for _, _, name in includes_of(code_of((base / "quire.hpp").read_text(encoding="utf-8")))}
        for path in headers:
            if path.endswith(".hpp") and not is_cpu(path) and path not in ROOT_HEADERS and path not in named:
                breach("quire.hpp", 1, "all", f"does not include {path}")
    for page in sorted([*root.glob("*.md"), *root.glob("docs/*.md")]):
        for number, line in enumerate(page.read_text(encoding="utf-8").split("\n"), 1):
            for path in re.findall(r"`((?:include|tests|examples|bench|cmake|docs)/[\w./-]*)`", line):
                if not (root / path).exists():
                    breaches.append(f"{page.relative_to(root).as_posix()}:{number}: page: names {path}, which does not exist")
    return breaches


def check_arrow(path, room, device, number, target, breach):
    other = target.split("/")[0] if "/" in target else ""
    if target == "quire.hpp":
        breach(path, number, "arrow", "quire.hpp is for programs; include what is used")
    elif path == "quire.hpp":
        if is_cpu(target) or target.endswith(".cuh"):
            breach(path, number, "arrow", f"{target} is not a host header: quire.hpp needs the standard library alone")
    elif not other:
        if room != "core":
            breach(path, number, "arrow", f"{target} reaches other rooms through core/config.hpp")
    elif other != room and room in ARROWS and other not in ARROWS[room]:
        allowed = ", ".join(sorted(ARROWS[room])) or "no other room"
        breach(path, number, "arrow", f"{room} may not include {other} ({target}); it may include {allowed}")
    if path != "quire.hpp":
        if is_cpu(target) and not is_cpu(path):
            breach(path, number, "arrow", f"{target} is a kernel header; only kernel headers (*/cpu/) include it")
        if target.endswith(".cuh") and not device:
            breach(path, number, "arrow", f"{target} needs nvcc; a .hpp never includes a .cuh")


def check_system(path, room, device, number, name, breach):
    if name in BANNED:
        breach(path, number, "banned", f"<{name}> costs every includer too much")
    elif name.startswith("hwy/"):
        if not is_cpu(path):
            breach(path, number, "third party", f"<{name}>: Highway stands only under */cpu/ and in core/simd.hpp")
    elif name == "immintrin.h":
        if path != "core/simd.hpp":
            breach(path, number, "third party", "intrinsics stand only in core/simd.hpp")
    elif name in POSIX:
        if room != "tier" and path != "core/amx.hpp":
            breach(path, number, "third party", f"<{name}>: the operating system is reached only from tier/, and from core/amx.hpp for leave")
    elif name not in STANDARD and not (device and CUDA.match(name)):
        breach(path, number, "third party", f"<{name}> is neither the standard library nor Highway")


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    breaches = check(sys.argv[1])
    for line in breaches:
        print(line)
    print(f"{len(headers_of(sys.argv[1]))} headers, {len(breaches)} breaches")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
