// `reload SEED CAPTURES ONE.so TWO.so`: loads one of two libraries, allocates in it, unloads it, and so on:
// code of the one comes to lie where code of the other was.

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    if (argc < 5)
        return 2;
    unsigned long state = strtoul(argv[1], NULL, 10) * 2654435761u | 1;
    long wanted = atol(argv[2]), captures = 0;
    while (captures < wanted) {
        state = state * 6364136223846793005 + 1442695040888963407;
        void *library = dlopen(argv[3 + (state >> 40) % 2], RTLD_NOW);
        if (!library)
            return 1;
        long (*churn)(int, int) = (long (*)(int, int))dlsym(library, "churn");
        if (!churn)
            return 1;
        for (int round = 0; round < 20; round++)
            captures += churn((int)(state >> 50) % 9, 10);
        dlclose(library);
    }
    printf("%ld\n", captures);
    return 0;
}
