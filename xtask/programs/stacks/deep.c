// `deep SEED CAPTURES`: down to a random depth and up again, with an allocation on the way here and there.
// The deepest stacks that are recorded whole have 1,024 frames; one descent in 4,096 goes past that.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t state;
static long captures;

static unsigned below(unsigned bound) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 33) % bound;
}

static void allocate(void) {
    void *volatile block = malloc(40);
    free(block);
    captures++;
}

__attribute__((noinline)) static int descend(int depth) {
    if (depth == 0 || below(16) == 0)
        allocate();
    int sum = depth == 0 ? 0 : descend(depth - 1);
    if (below(16) == 0)
        allocate();
    return sum + 1;
}

int main(int argc, char **argv) {
    state = (argc > 1 ? strtoull(argv[1], NULL, 10) : 1) * 2654435761u | 1;
    long wanted = argc > 2 ? atol(argv[2]) : 1000;
    while (captures < wanted)
        descend(below(4096) == 0 ? 3000 : (int)below(1000));
    printf("%ld\n", captures);
    return 0;
}
