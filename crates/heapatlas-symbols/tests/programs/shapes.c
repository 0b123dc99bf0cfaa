#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct list {
    struct list *next;
    char text[24];
};

static inline struct list *push(struct list *head, const char *text)
{
    struct list *made = malloc(sizeof *made);
    if (!made)
        abort();
    made->next = head;
    strncpy(made->text, text, sizeof made->text - 1);
    made->text[sizeof made->text - 1] = 0;
    return made;
}

static inline void release(struct list *head)
{
    while (head) {
        struct list *next = head->next;
        free(head);
        head = next;
    }
}

static int compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

__attribute__((noinline)) struct list *build(int count)
{
    struct list *head = 0;
    char text[16];
    for (int i = 0; i < count; i++) {
        snprintf(text, sizeof text, "item %d", i);
        head = push(head, text);
    }
    return head;
}

int main(int argc, char **argv)
{
    int numbers[8] = {5, 3, 8, 1, argc, 2, 9, 4};
    struct list *head = build(argc * 10);
    qsort(numbers, 8, sizeof *numbers, compare);
    for (struct list *at = head; at; at = at->next)
        printf("%s\n", at->text);
    release(head);
    printf("%s %d\n", argv[0], numbers[0]);
    return 0;
}
