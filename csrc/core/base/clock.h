/* A clock that nobody sets. */
#ifndef QL_CLOCK_H
#define QL_CLOCK_H

#include <stdint.h>

int64_t ql_now_ns(void);

#endif
