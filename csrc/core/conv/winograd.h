/* Convolutions of 3 x 3 by way of fewer products: Winograd's minimal filtering, in integers. */
#ifndef QL_WINOGRAD_H
#define QL_WINOGRAD_H

#include "core/conv/conv.h"

/* Returns the side of the tiles that take the least time, or 0 where windows are multiplied as they are. */
size_t ql_winograd_side(const ql_geometry *g);

/* Transforms weights [3][3][in][out] of a filter, which then has no others. */
ql_status ql_filter_transform(ql_filter *w, const int8_t *weights, size_t side);

/* Returns how long one thread takes for a window with transformed weights, about. */
double ql_winograd_window_ns(const ql_geometry *g);

/* Returns the bytes that ql_winograd_run needs, whatever the weights; 0 where they cannot be transformed. */
size_t ql_winograd_workspace(const ql_geometry *g);

/* As ql_conv_run. */
void ql_winograd_run(const ql_geometry *g, const ql_terms *terms, const uint8_t *x, size_t images, void *y,
                     void *workspace);

#endif
