/* Calls that a Rust compiler does not write: run at random by c_calls.rs, which hands in the probe. */
#define _GNU_SOURCE
#include <alloca.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

typedef void (*probe_function)(void);

static __thread probe_function probe;
static __thread uint64_t state;
static __thread int kinds;

static unsigned below(unsigned bound) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 33) % bound;
}

#define FUNCTION __attribute__((noinline, noclone)) static int
#define KEEP(pointer) __asm__ volatile("" ::"r"(pointer) : "memory")

static int step(int depth);

FUNCTION plain(int depth) {
    int sum = step(depth - 1);
    return sum + step(depth - 1) / 2;
}

/* The frame is of another size each time: its CFA comes from rbp. */
FUNCTION with_alloca(int depth) {
    char *block = alloca(16 + below(40) * 8);
    memset(block, depth, 16);
    KEEP(block);
    int sum = step(depth - 1);
    KEEP(block);
    return sum + block[3];
}

/* The stack is realigned: GCC describes the CFA by an expression. */
FUNCTION realigned(int depth) {
    char block[192] __attribute__((aligned(64)));
    KEEP(block);
    int sum = step(depth - 1) + step(depth - 1);
    KEEP(block);
    return sum + 1;
}

FUNCTION realigned_with_alloca(int depth) {
    char block[64] __attribute__((aligned(64)));
    char *other = alloca(16 + below(9) * 24);
    KEEP(block);
    KEEP(other);
    int sum = step(depth - 1);
    KEEP(block);
    return sum + 1;
}

__attribute__((optimize("no-omit-frame-pointer"))) FUNCTION with_frame_pointer(int depth) {
    int sum = step(depth - 1);
    return sum ^ step(depth - 1);
}

/* Six values live across the calls: all registers that a callee must keep are saved. */
FUNCTION full_registers(int depth) {
    int a = below(9), b = below(9), c = below(9), d = below(9), e = below(9), f = below(9);
    int sum = step(depth - 1);
    sum += a * b + c;
    sum += step(depth - 1);
    return sum + d * e + f + a * c + b;
}

FUNCTION tail_called(int depth) {
    return step(depth - 1);
}

FUNCTION big_frame(int depth) {
    char block[9000];
    KEEP(block);
    int sum = step(depth - 1);
    KEEP(block);
    return sum + 2;
}

static __thread jmp_buf *back;

FUNCTION jumps(int depth) {
    jmp_buf here;
    jmp_buf *outer = back;
    volatile int sum = 0;
    if (setjmp(here) == 0) {
        back = &here;
        sum = step(depth - 1);
        if (below(2))
            longjmp(*back, 1);
    }
    back = outer;
    return sum + step(depth - 1);
}

static __thread int signal_depth, handlers;

static void handler(int signal) {
    (void)signal;
    handlers++;
    probe();
    step(signal_depth - 1);
    handlers--;
}

FUNCTION signaled(int depth) {
    int outer = signal_depth;
    signal_depth = depth / 2;
    raise(below(2) ? SIGUSR1 : SIGUSR2);
    signal_depth = outer;
    return step(depth - 1);
}

static __thread ucontext_t *from, *to;
static __thread int coroutine_depth;

static void coroutine(void) {
    ucontext_t *home = from, *self = to;
    int depth = coroutine_depth;
    for (;;) {
        step(depth - 1);
        probe();
        swapcontext(self, home);
    }
}

/* A coroutine that is resumed between other calls, on a stack of 64 KiB of the heap. */
FUNCTION with_coroutine(int depth) {
    ucontext_t home, other;
    char *stack = malloc(65536);
    getcontext(&other);
    other.uc_stack.ss_sp = stack;
    other.uc_stack.ss_size = 65536;
    other.uc_link = NULL;
    ucontext_t *outer_from = from, *outer_to = to;
    int outer_depth = coroutine_depth;
    makecontext(&other, coroutine, 0);
    for (int round = below(3); round >= 0; round--) {
        from = &home;
        to = &other;
        coroutine_depth = depth / 2 + 1;
        swapcontext(&home, &other);
        probe();
        step(depth - 1);
    }
    from = outer_from;
    to = outer_to;
    coroutine_depth = outer_depth;
    free(stack);
    return depth;
}

FUNCTION compare_depth(const void *left, const void *right) {
    probe();
    return *(const int *)left - *(const int *)right;
}

FUNCTION through_qsort(int depth) {
    int numbers[5] = {below(9), below(9), below(9), depth, 3};
    qsort(numbers, 5, sizeof *numbers, compare_depth);
    return numbers[0] + step(depth - 1);
}

/* By hand, as in the dynamic linker: the CFA is in a register that callees keep. */
__attribute__((visibility("hidden"))) int step_from_assembly(int depth) {
    return step(depth - 1) + below(2);
}

#define CFA_IN(name, reg)                                                                          \
    int name(int depth);                                                                           \
    __asm__(".text\n.hidden " #name "\n.globl " #name "\n.type " #name ", @function\n" #name ":\n"   \
            ".cfi_startproc\n"                                                                     \
            "push %" #reg "\n.cfi_def_cfa_offset 16\n.cfi_offset %" #reg ", -16\n"                 \
            "mov %rsp, %" #reg "\n.cfi_def_cfa_register %" #reg "\n"                               \
            "sub $200, %rsp\nand $-64, %rsp\n"                                                     \
            "call step_from_assembly\n"                                                            \
            "mov %" #reg ", %rsp\n.cfi_def_cfa_register %rsp\n"                                    \
            "pop %" #reg "\n.cfi_def_cfa_offset 8\n.cfi_restore %" #reg "\nret\n"                  \
            ".cfi_endproc\n.size " #name ", . - " #name "\n")

CFA_IN(cfa_in_rbx, rbx);
CFA_IN(cfa_in_r12, r12);
CFA_IN(cfa_in_r13, r13);
CFA_IN(cfa_in_r14, r14);
CFA_IN(cfa_in_r15, r15);

/* The caller's rbp is in another register, not on the stack. */
int rbp_in_r12(int depth);
__asm__(".text\n.hidden rbp_in_r12\n.globl rbp_in_r12\n.type rbp_in_r12, @function\nrbp_in_r12:\n"
        ".cfi_startproc\n"
        "push %r12\n.cfi_def_cfa_offset 16\n.cfi_offset %r12, -16\n"
        "mov %rbp, %r12\n.cfi_register %rbp, %r12\n"
        "xor %ebp, %ebp\n"
        "call step_from_assembly\n"
        "mov %r12, %rbp\n.cfi_restore %rbp\n"
        "pop %r12\n.cfi_def_cfa_offset 8\n.cfi_restore %r12\nret\n"
        ".cfi_endproc\n.size rbp_in_r12, . - rbp_in_r12\n");

/* The CFA is in a register that callees do not keep: only a signal can find it so. */
int interrupted_with_cfa_in_r9(int signal);
__asm__(".text\n.hidden interrupted_with_cfa_in_r9\n.globl interrupted_with_cfa_in_r9\n"
        ".type interrupted_with_cfa_in_r9, @function\ninterrupted_with_cfa_in_r9:\n"
        ".cfi_startproc\n"
        "mov %rsp, %r9\n.cfi_def_cfa_register %r9\n"
        "sub $136, %rsp\nand $-32, %rsp\n"
        "mov %edi, %r8d\n"
        "mov $39, %eax\nsyscall\nmov %eax, %edi\n"  /* getpid */
        "mov $186, %eax\nsyscall\nmov %eax, %esi\n" /* gettid */
        "mov %r8d, %edx\nmov $234, %eax\nsyscall\n" /* tgkill */
        "mov %r9, %rsp\n.cfi_def_cfa_register %rsp\nret\n"
        ".cfi_endproc\n.size interrupted_with_cfa_in_r9, . - interrupted_with_cfa_in_r9\n");

FUNCTION interrupted(int depth) {
    int outer = signal_depth;
    signal_depth = depth / 2;
    interrupted_with_cfa_in_r9(below(2) ? SIGUSR1 : SIGUSR2);
    signal_depth = outer;
    return step(depth - 1);
}

FUNCTION by_assembly(int depth) {
    switch (below(6)) {
    case 0: return cfa_in_rbx(depth) + 1;
    case 1: return cfa_in_r12(depth) + 1;
    case 2: return cfa_in_r13(depth) + 1;
    case 3: return cfa_in_r14(depth) + 1;
    case 4: return cfa_in_r15(depth) + 1;
    default: return rbp_in_r12(depth) + 1;
    }
}

enum { SIGNALS = 1, COROUTINES = 2 };

static int step(int depth) {
    if (depth <= 0 || below(3) == 0) {
        probe();
        return depth;
    }
    switch (below(16)) {
    case 0: return with_alloca(depth) + 1;
    case 1: return realigned(depth) + 1;
    case 2: return realigned_with_alloca(depth) + 1;
    case 3: return with_frame_pointer(depth) + 1;
    case 4: return full_registers(depth) + 1;
    case 5: return tail_called(depth);
    case 6: return big_frame(depth) + 1;
    case 7: return jumps(depth) + 1;
    case 8: return through_qsort(depth) + 1;
    case 9: return by_assembly(depth) + 1;
    case 10: if (kinds & SIGNALS) return interrupted(depth) + 1; /* fall through */
    case 11: if (kinds & SIGNALS) return signaled(depth) + 1; /* fall through */
    /* A coroutine would come back to the signal stack by a new signal, over the frames there. */
    case 12: if (kinds & COROUTINES && handlers == 0) return with_coroutine(depth) + 1; /* fall through */
    default: return plain(depth) + 1;
    }
}

/* One tree of calls, of a shape that `seed` decides. */
int run_calls(probe_function function, uint64_t seed, int depth, int which) {
    static __thread char *alternate;
    probe = function;
    state = seed;
    kinds = which;
    if (!alternate) {
        alternate = malloc(1 << 18);
        stack_t stack = {.ss_sp = alternate, .ss_size = 1 << 18};
        sigaltstack(&stack, NULL);
        struct sigaction action = {.sa_handler = handler, .sa_flags = SA_NODEFER};
        sigaction(SIGUSR1, &action, NULL);
        action.sa_flags = SA_NODEFER | SA_ONSTACK;
        sigaction(SIGUSR2, &action, NULL);
    }
    return step(depth);
}
