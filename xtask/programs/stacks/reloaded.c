// A library of reload.c: compiled twice, with frames of different sizes.

#include <stdlib.h>

#ifndef WORDS
#define WORDS 3
#endif

__attribute__((noinline)) static long allocate(int count) {
    for (int i = 0; i < count; i++) {
        void *volatile block = malloc(16 + i);
        free(block);
    }
    return count;
}

long churn(int depth, int count) {
    volatile long frame[WORDS] = {depth};
    long done = depth == 0 ? allocate(count) : churn(depth - 1, count);
    return done + 0 * frame[0];
}
