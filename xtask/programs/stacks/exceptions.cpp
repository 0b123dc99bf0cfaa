// `exceptions SEED CAPTURES`: calls that are left by exceptions, through destructors that allocate.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

static std::uint64_t state;
static long captures;

static unsigned below(unsigned bound) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<unsigned>(state >> 33) % bound;
}

struct Allocates {
    int words;
    ~Allocates() {
        std::vector<long> block(words, 7);
        captures++;
    }
};

static int step(int depth);

[[gnu::noinline]] static int guarded(int depth) {
    Allocates later{depth + 1};
    return step(depth - 1) + step(depth - 1);
}

[[gnu::noinline]] static int catching(int depth) {
    try {
        return step(depth - 1);
    } catch (const std::runtime_error &error) {
        captures++;
        return static_cast<int>(std::string(error.what()).append(40, 'x').size());
    }
}

[[gnu::noinline]] static int rethrowing(int depth) {
    try {
        return step(depth - 1);
    } catch (...) {
        auto block = std::make_unique<char[]>(depth + 1);
        captures++;
        if (below(2))
            throw;
        return block[0];
    }
}

[[gnu::noinline]] static int throwing(int depth) {
    captures++;
    throw std::runtime_error(std::string(20 + depth, 'e'));
}

static int step(int depth) {
    if (depth <= 0)
        return below(3) ? 1 : throwing(depth + 1);
    switch (below(5)) {
    case 0: return guarded(depth);
    case 1: return catching(depth) + 1;
    case 2: return rethrowing(depth) + 1;
    case 3: return below(4) ? guarded(depth) : throwing(depth);
    default: return step(depth - 1) + 1;
    }
}

int main(int argc, char **argv) {
    state = (argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1) * 2654435761u | 1;
    long wanted = argc > 2 ? std::atol(argv[2]) : 1000;
    while (captures < wanted) {
        try {
            step(3 + static_cast<int>(below(9)));
        } catch (const std::exception &) {
            captures++;
        }
    }
    std::printf("%ld\n", captures);
}
