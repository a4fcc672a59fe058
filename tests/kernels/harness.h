/* What the cases of all kernels share: arrays at the ends of pages, and random values that are the same on every
 * machine. A case calls its kernel of one table on such values and says what came out; main.c compares the tables. */
#pragma once
#include "kernels/kernels.h"
#include "qlite.h"

enum { SLOTS = 13, SLOT_BYTES = 1 << 21, RESULT = SLOTS - 1 };

typedef struct results {
    void *data;
    size_t bytes;
    uint8_t answer; /* what the kernel returned */
} results;

/* One kernel's case: n elements (or columns), `group` of which share a parameter. */
typedef struct subject {
    const char *kernel;
    results (*run)(const ql_kernels *kernels, size_t n, size_t group);
} subject;

/* Each ends with an entry without a kernel. */
extern const subject add_subjects[], bend_subjects[], bits_subjects[], calibrate_subjects[], codebook_subjects[],
    copy_subjects[], depthwise_subjects[], elementwise_subjects[], error_subjects[], function_subjects[],
    gemm_subjects[], gemm_grouped_subjects[], gradients_subjects[], images_subjects[], lookup_subjects[],
    optimizers_subjects[], pool_subjects[], requantize_subjects[], resize_subjects[], winograd_subjects[];

/* ---- memory ------------------------------------------------------------------------------------- */

void map_slots(void);

/* The last `bytes` bytes of a slot: behind them lies a page that may not be touched. */
void *array(int slot, size_t bytes);

/* ---- values ------------------------------------------------------------------------------------- */

void seed_values(uint64_t seed);

uint32_t bits(void);

int32_t between(int32_t low, int32_t high);

/* In [2^(low - 127), 2^(high - 126)). */
float between_powers(int32_t low, int32_t high);

/* Ties, ordinary values and any bits at all: NaN quiet and signaling, infinities, denormals, both zeros. */
float any_value(float scale);

int32_t any_sum(void);

/* ---- arrays of them ----------------------------------------------------------------------------- */

float *any_values(int slot, size_t n, const float *scale, size_t group);

uint8_t *any_codes(int slot, size_t n);

int32_t *any_sums(int slot, size_t n);

/* Codes that are added to n columns, in three slots. */
ql_residual any_residual(int slot, size_t codes, size_t n);

typedef struct parameters {
    float *scale;
    int32_t *zero_point;
    int32_t qmin, qmax;
} parameters;

/* In slots 0 and 1, for codes of `width` bits. */
parameters any_parameters(size_t count, int width);

/* How many parameters n elements have. */
size_t parameter_count(size_t n, size_t group);

/* Column parameters of every store, in slots 0, 1 and 3 to 6. */
ql_epilogue any_epilogue(size_t n);

/* Results in which every NaN has the same bits: which NaN it is, is not defined. */
results floats(float *values, size_t n, uint8_t answer);
