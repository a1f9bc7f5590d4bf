/* Hides AVX-512, AVX-VNNI, bf16 and AMX from the process that preloads this library; see avx2.py.

   Programs ask the processor what it can do with the instruction CPUID. Linux can let it fail in a process
   (arch_prctl, ARCH_SET_CPUID); the handler of the fault then answers in its place. */

#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { SET_CPUID = 0x1012, FEATURES = 7, TILES = 0x1d, TILE_PRODUCTS = 0x1e, AVX10 = 0x24 };
#define BIT(n) (1u << (n))

typedef int (*set_action)(int, const struct sigaction *, struct sigaction *);

static struct sigaction before; /* what the program wants to do about its own faults */

static set_action real_sigaction(void) {
    static set_action found;
    if (found == NULL)
        found = (set_action)dlsym(RTLD_NEXT, "sigaction");
    return found;
}

/* Workers of torch's data loader handle this signal as well. */
int sigaction(int number, const struct sigaction *wanted, struct sigaction *old) {
    if (number != SIGSEGV)
        return real_sigaction()(number, wanted, old);
    if (old != NULL)
        *old = before;
    if (wanted != NULL)
        before = *wanted;
    return 0;
}

/* Leaf 7, part 0, of CPUID (Intel SDM, volume 2A): what AVX2 does not have. */
static const uint32_t EBX = BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31);
static const uint32_t ECX = BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14);
static const uint32_t EDX = BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25);

static void answer(int number, siginfo_t *facts, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *instruction = (const uint8_t *)registers[REG_RIP];
    (void)number;
    if (facts->si_code != SI_KERNEL || instruction[0] != 0x0f || instruction[1] != 0xa2) {
        real_sigaction()(SIGSEGV, &before, NULL); /* a fault of the program's own, which happens again */
        return;
    }
    uint32_t leaf = (uint32_t)registers[REG_RAX], part = (uint32_t)registers[REG_RCX], a, b, c, d;
    syscall(SYS_arch_prctl, SET_CPUID, 1);
    __cpuid_count(leaf, part, a, b, c, d);
    syscall(SYS_arch_prctl, SET_CPUID, 0);
    if (leaf == FEATURES && part == 0) {
        b &= ~EBX;
        c &= ~ECX;
        d &= ~EDX;
    } else if (leaf == FEATURES || leaf == TILES || leaf == TILE_PRODUCTS || leaf == AVX10) {
        a = b = c = d = 0;
    }
    registers[REG_RAX] = a;
    registers[REG_RBX] = b;
    registers[REG_RCX] = c;
    registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void begin(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = answer;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    real_sigaction()(SIGSEGV, &action, &before);
    if (syscall(SYS_arch_prctl, SET_CPUID, 0) != 0) {
        static const char words[] = "avx2: this processor cannot hide instructions (no cpuid_fault)\n";
        (void)!write(STDERR_FILENO, words, sizeof words - 1);
        _exit(2);
    }
}
