/* Whether the caller wants long work to be given up: asked between items of work. */
#ifndef QL_LISTEN_H
#define QL_LISTEN_H

#include <stdbool.h>

/* Asks the listener of this thread, if it has one and QL_LISTEN_NS have passed. Stays true once the answer was yes. */
bool ql_stop_wanted(void);

/* Tells whether the answer was yes. */
bool ql_is_stopped(void);

#endif
