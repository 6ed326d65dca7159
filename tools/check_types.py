#!/usr/bin/env python3
"""Checks that a name is the name of one type alone in its namespace, over all of src/.

usage: tools/check_types.py [ROOT]     exit 0: all are; 1: lists those that are not
Two structs of one name in one namespace are undefined even where no file sees both: the linker keeps one
std::vector of them. Types in unnamed namespaces and within classes are free.
"""
import collections
import pathlib
import re
import sys

NAMESPACE = re.compile(r"namespace ?([\w:]*) *\{")
TYPE = re.compile(r"(?:template <[^>]*>\s*)?(?:struct|class|enum class) (\w+)(?: final)?(?: :[^{;]*)?\s*\{")


def types_of(path):
    """Qualified names of the types a file defines at namespace level."""
    open_namespaces, depth = [], 0  # (depth in front of it, name; empty: unnamed)
    for line in path.read_text(encoding="utf-8").splitlines():
        line = line.partition("//")[0]
        if namespace := NAMESPACE.match(line.strip()):
            open_namespaces.append((depth, namespace.group(1)))
            depth += 1
            continue
        found = TYPE.match(line)
        if found and depth == len(open_namespaces) and all(name for _, name in open_namespaces):
            yield "::".join([name for _, name in open_namespaces] + [found.group(1)])
        depth += line.count("{") - line.count("}")
        while open_namespaces and depth <= open_namespaces[-1][0]:
            open_namespaces.pop()


def main() -> int:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    places = collections.defaultdict(set)
    for path in sorted((root / "src").rglob("*")):
        if path.suffix in {".h", ".cc", ".cu", ".cuh"}:
            for name in types_of(path):
                places[name].add(str(path.relative_to(root)))
    wrong = [f"{name}: {', '.join(sorted(files))}" for name, files in sorted(places.items()) if len(files) > 1]
    print("\n".join(wrong) or f"{len(places)} types, no name twice in a namespace")
    return 1 if wrong or not places else 0


if __name__ == "__main__":
    sys.exit(main())
