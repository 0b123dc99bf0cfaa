# `python3 -X perf generated.py SEED CAPTURES`: with a trampoline of generated code for every function.

import sys

seed, captures = map(int, sys.argv[1:])


def leaf(n):
    return {"n": n, "list": [n] * (n % 50)}


def descend(n, depth):
    return leaf(n) if depth == 0 else descend(n, depth - 1)


def key(n):
    return len(descend(n, n % 11)["list"])


total = 0
for n in range(seed, seed + captures // 30):
    total += sum(sorted((n, n + 1, n + 2), key=key))
print(total > 0)
