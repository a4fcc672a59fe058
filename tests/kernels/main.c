/* Runs every kernel of every instruction set that this CPU has, without Python: over awkward lengths, groups and values
 * each must give the same bits as the scalar one. Prints a digest of each kernel's results, which two machines can be
 * compared by (.ci/arm does). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#ifdef QL_EMULATE_AMX
#include "clock_emulated.h"
#include "kernels/amxint8/unit_amxint8.h"
#endif

static const subject *const topics[] = {
    add_subjects,        bend_subjects,         bits_subjects,        calibrate_subjects, codebook_subjects,
    copy_subjects,       depthwise_subjects,    elementwise_subjects, error_subjects,     function_subjects,
    gemm_subjects,       gemm_grouped_subjects, gradients_subjects,   images_subjects,    lookup_subjects,
    optimizers_subjects, pool_subjects,         requantize_subjects,  resize_subjects,    winograd_subjects,
};

static const subject *subject_of(const char *kernel)
{
    for (size_t i = 0; i < sizeof topics / sizeof *topics; i++) {
        for (const subject *s = topics[i]; s->kernel; s++) {
            if (strcmp(s->kernel, kernel) == 0)
                return s;
        }
    }
    fprintf(stderr, "%s: no case here\n", kernel);
    exit(1);
}

/* Tiles that are awake fall asleep before the n-th product that is too small for them; 0: before none. */
static void sleep_before(uint64_t n)
{
#ifdef QL_EMULATE_AMX
    ql_emulated_leaps(0);
    ql_unit_note_use__amxint8();
    ql_emulated_leaps(n ? 2 * n - 1 : 0);
#else
    (void)n;
#endif
}

static results run(const subject *s, const char *isa, size_t n, size_t group, uint64_t seed)
{
    if (ql_isa_select(isa) != QL_OK)
        exit(2);
    seed_values(seed * 1000003 + n * 1009 + group);
    sleep_before((n + group) % 4 == 0 ? seed + 1 : 0);
    return s->run(ql_kernels_active(), n, group);
}

/* Every instruction set's results against the scalar ones, which enter the digest (FNV-1a). */
static void compare(const subject *s, size_t n, size_t group, uint64_t seed, uint64_t *digest)
{
    static unsigned char expected[SLOT_BYTES];
    const results scalar = run(s, "scalar", n, group, seed);
    memcpy(expected, scalar.data, scalar.bytes);
    *digest = (*digest ^ scalar.answer) * UINT64_C(0x100000001B3);
    for (size_t i = 0; i < scalar.bytes; i++)
        *digest = (*digest ^ expected[i]) * UINT64_C(0x100000001B3);
    for (size_t i = 1; ql_isa_name(i); i++) {
        if (!ql_isa_can_run(i))
            continue;
        results other = run(s, ql_isa_name(i), n, group, seed);
        if (other.answer == scalar.answer && memcmp(other.data, expected, scalar.bytes) == 0)
            continue;
        fprintf(stderr, "%s of %s differs from scalar: n %zu, group %zu, seed %" PRIu64 "\n", s->kernel, ql_isa_name(i),
                n, group, seed);
        exit(1);
    }
}

int main(void)
{
    static const size_t lengths[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16,  17,  18,  19, 23,
                                     24, 25, 31, 32, 33, 47, 48, 49, 63, 64, 65, 79, 80, 81, 96, 127, 128, 129, 257};
    static const size_t groups[] = {1, 2, 3, 4, 5, 8, 15, 16, 17, 32, 33, 64, 257};
    enum { SEEDS = 3 };

    map_slots();
    fprintf(stderr, "instruction sets:");
    for (size_t i = 0; ql_isa_name(i); i++)
        fprintf(stderr, "%s%s", ql_isa_can_run(i) ? " " : " not ", ql_isa_name(i));
    fprintf(stderr, "\n");
    for (size_t i = 0; ql_kernel_name(i); i++) {
        const subject *s = subject_of(ql_kernel_name(i));
        uint64_t digest = UINT64_C(0xCBF29CE484222325);
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
                for (uint64_t seed = 0; seed < SEEDS; seed++)
                    compare(s, lengths[l], groups[g], seed, &digest);
            }
        }
        printf("%-28s %016" PRIx64 "\n", s->kernel, digest);
    }
    return 0;
}
