/* Order of a codebook's entries. */
#ifndef QL_CODEBOOK_ORDER_H
#define QL_CODEBOOK_ORDER_H

#include <stddef.h>
#include <stdint.h>

/* Sorts the codes of all finite values by value, those of equal values by code; returns how many they are. */
size_t ql_sort_codes(const float *values, size_t entries, uint8_t *codes);

#endif
