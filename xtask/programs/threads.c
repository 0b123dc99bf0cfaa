// `threads COUNT`: so many threads at once, each with an allocation; prints the memory of the process in KiB
// while all of them live: resident memory of its own, and of files that it shares.

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_barrier_t all_are_there, measured;

static void *run(void *unused) {
    for (int i = 0; i < 100; i++) {
        void *volatile block = malloc(100 + i);
        free(block);
    }
    pthread_barrier_wait(&all_are_there);
    pthread_barrier_wait(&measured);
    return unused;
}

static long resident(const char *what) {
    char line[256];
    long kib = -1;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (strncmp(line, what, strlen(what)) == 0)
            kib = atol(line + strlen(what));
    if (status)
        fclose(status);
    return kib;
}

int main(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : 1;
    pthread_t *threads = calloc(count, sizeof *threads);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 128 << 10);
    pthread_barrier_init(&all_are_there, NULL, count + 1);
    pthread_barrier_init(&measured, NULL, count + 1);
    for (int i = 0; i < count; i++)
        if (pthread_create(&threads[i], &small, run, NULL))
            return 1;
    pthread_barrier_wait(&all_are_there);
    printf("%ld %ld\n", resident("RssAnon:"), resident("RssShmem:") + resident("RssFile:"));
    pthread_barrier_wait(&measured);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
