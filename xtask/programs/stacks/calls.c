// `calls SEED CAPTURES`: random walks through the calls of the unwinder's own tests, with an allocation
// where those have a probe: alloca, realigned stacks, longjmp, tail calls, signal handlers (on an
// alternate stack, too), coroutines, code written by hand.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int run_calls(void (*probe)(void), uint64_t seed, int depth, int kinds);

static long captures;

static void allocate(void) {
    // Without the volatile the compiler drops both.
    void *volatile block = malloc(24);
    free(block);
    captures++;
}

int main(int argc, char **argv) {
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    long wanted = argc > 2 ? atol(argv[2]) : 1000;
    while (captures < wanted) {
        seed = seed * 6364136223846793005 + 1442695040888963407;
        run_calls(allocate, seed | 1, 4 + (seed >> 33) % 20, (seed >> 40) % 4);
    }
    printf("%ld\n", captures);
    return 0;
}
