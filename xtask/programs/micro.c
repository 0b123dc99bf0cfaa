// `micro PAIRS`: a loop of nothing but malloc and free, 30 frames below main, from two functions in turn.

#include <stdlib.h>

// Without this the compiler drops an allocation that nobody looks at.
static void *volatile kept;

__attribute__((noinline)) static void leaf_a(void) {
    kept = malloc(24);
    free(kept);
    __asm__ volatile("");
}

__attribute__((noinline)) static void leaf_b(void) {
    kept = malloc(56);
    free(kept);
    __asm__ volatile("");
}

__attribute__((noinline)) static void descend(int depth, long pairs) {
    if (depth > 0) {
        descend(depth - 1, pairs);
    } else {
        for (long i = 0; i < pairs; i += 2) {
            leaf_a();
            leaf_b();
        }
    }
    // A call in tail position would leave no frame.
    __asm__ volatile("");
}

int main(int argc, char **argv) {
    descend(30, argc > 1 ? atol(argv[1]) : 0);
    return 0;
}
