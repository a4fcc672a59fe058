/* Which kernels serve a call: one row per instruction set, and a table completed from the row's parents. */
#include <stdlib.h>
#include <string.h>

#include "dispatch/cpu.h"
#include "dispatch/permission.h"
#include "kernels/scalar/scalar.h"
#include "qlite.h"
#ifdef QL_HAVE_AVX2
#include "kernels/avx2/avx2.h"
#endif
#ifdef QL_HAVE_AVXVNNI
#include "kernels/avxvnni/avxvnni.h"
#endif
#ifdef QL_HAVE_AVX512VNNI
#include "kernels/avx512vnni/avx512vnni.h"
#endif
#ifdef QL_HAVE_AVX512VBMI
#include "kernels/avx512vbmi/avx512vbmi.h"
#endif
#ifdef QL_HAVE_AMXINT8
#include "kernels/amxint8/amxint8.h"
#endif
#ifdef QL_HAVE_NEON
#include "kernels/neon/neon.h"
#endif
#ifdef QL_HAVE_NEONDOT
#include "kernels/neondot/neondot.h"
#endif
#ifdef QL_HAVE_NEONI8MM
#include "kernels/neoni8mm/neoni8mm.h"
#endif

typedef struct isa_row {
    const ql_kernels *kernels;
    uint32_t requires;
} isa_row;

#ifndef __aarch64__
enum {
    AVX512VNNI = QL_CPU_AVX2 | QL_CPU_FMA | QL_CPU_AVX512F | QL_CPU_AVX512BW | QL_CPU_AVX512VL | QL_CPU_AVX512DQ |
    QL_CPU_AVX512VNNI
};

#ifdef QL_EMULATE_AMX
enum { AMXINT8 = QL_CPU_AVX2 | QL_CPU_FMA | QL_CPU_TILES };
#else
enum { AMXINT8 = AVX512VNNI | QL_CPU_AVX512VBMI | QL_CPU_TILES };
#endif
#endif

/* Best last. */
static const isa_row isas[] = {
    {&ql_kernels_scalar, 0},
#ifdef QL_HAVE_AVX2
    {&ql_kernels_avx2, QL_CPU_AVX2 | QL_CPU_FMA},
#endif
#ifdef QL_HAVE_AVXVNNI
    {&ql_kernels_avxvnni, QL_CPU_AVX2 | QL_CPU_FMA | QL_CPU_AVXVNNI},
#endif
#ifdef QL_HAVE_AVX512VNNI
    {&ql_kernels_avx512vnni, AVX512VNNI},
#endif
#ifdef QL_HAVE_AVX512VBMI
    {&ql_kernels_avx512vbmi, AVX512VNNI | QL_CPU_AVX512VBMI},
#endif
#ifdef QL_HAVE_AMXINT8
    {&ql_kernels_amxint8, AMXINT8},
#endif
#ifdef QL_HAVE_NEON
    {&ql_kernels_neon, QL_CPU_NEON},
#endif
#ifdef QL_HAVE_NEONDOT
    {&ql_kernels_neondot, QL_CPU_NEON | QL_CPU_DOTPROD},
#endif
#ifdef QL_HAVE_NEONI8MM
    {&ql_kernels_neoni8mm, QL_CPU_NEON | QL_CPU_DOTPROD | QL_CPU_I8MM},
#endif
};

enum { ISA_COUNT = sizeof isas / sizeof *isas };

typedef struct kernel_field {
    const char *name;
    size_t offset;
} kernel_field;

#define FIELD(type, name, isa) {#name, offsetof(ql_kernels, name)},

static const kernel_field fields[] = {QL_KERNELS(FIELD, FIELD, )};

enum { KERNEL_COUNT = sizeof fields / sizeof *fields };

/* A completed table, and who filled each field, in the order of `fields`. */
typedef struct resolved_table {
    ql_kernels kernels;
    const struct resolved_table *without_tiles; /* what serves where they are refused; NULL: needs none */
    const char *served_by[KERNEL_COUNT];
} resolved_table;

static resolved_table tables[ISA_COUNT];
static const resolved_table *active;

static void resolve(resolved_table *table, const ql_kernels *source)
{
    table->kernels.isa = source->isa;
    table->kernels.parent = source->parent;
    for (; source; source = source->parent) {
        for (size_t i = 0; i < KERNEL_COUNT; i++) {
            void *kernel;
            memcpy(&kernel, (const char *)source + fields[i].offset, sizeof kernel);
            if (!kernel || table->served_by[i])
                continue;
            memcpy((char *)&table->kernels + fields[i].offset, &kernel, sizeof kernel);
            table->served_by[i] = source->isa;
        }
    }
}

static bool needs_tiles(size_t i)
{
    return (isas[i].requires & QL_CPU_TILES) != 0;
}

static bool runs(size_t i)
{
    return (ql_cpu_features() & isas[i].requires) == isas[i].requires && !(needs_tiles(i) && ql_tiles_refused());
}

/* Emulated tiles are slow, and serve those who ask for them by name: QLITE_ISA=amxint8. Tests of what the best row does
 * unasked set QLITE_TRUST_TILES. */
static bool serves_by_name_alone(size_t i)
{
#ifdef QL_EMULATE_AMX
    return needs_tiles(i) && !getenv("QLITE_TRUST_TILES");
#else
    (void)i;
    return false;
#endif
}

/* The table of row i, and those that may have to serve in its place. */
static const resolved_table *resolved(size_t i)
{
    if (!tables[i].kernels.isa) {
        resolve(&tables[i], isas[i].kernels);
        size_t lower = i;
        while (needs_tiles(lower) || !runs(lower))
            lower--;
        tables[i].without_tiles = needs_tiles(i) ? resolved(lower) : NULL;
    }
    return &tables[i];
}

ql_status ql_isa_select(const char *name)
{
    for (size_t i = ISA_COUNT; i-- > 0;) {
        if (!runs(i) || (name ? strcmp(name, isas[i].kernels->isa) != 0 : serves_by_name_alone(i)))
            continue;
        if (name && needs_tiles(i) && !ql_tiles_permission())
            continue;
        active = resolved(i);
        return QL_OK;
    }
    return QL_EINVAL;
}

static const resolved_table *serving(void)
{
    return active->without_tiles && ql_tiles_refused() ? active->without_tiles : active;
}

const ql_kernels *ql_kernels_active(void)
{
    return &serving()->kernels;
}

const char *ql_isa_name(size_t i)
{
    return i < ISA_COUNT ? isas[i].kernels->isa : NULL;
}

bool ql_isa_can_run(size_t i)
{
    return i < ISA_COUNT && runs(i) && (!serves_by_name_alone(i) || active == &tables[i]);
}

const char *ql_isa_active(void)
{
    return serving()->kernels.isa;
}

const char *ql_kernel_name(size_t i)
{
    return i < KERNEL_COUNT ? fields[i].name : NULL;
}

const char *ql_kernel_isa(size_t i)
{
    return i < KERNEL_COUNT ? serving()->served_by[i] : NULL;
}
