/* Listeners. Core functions do not know that they were given up: they go on without doing their items, and what they
 * return then means nothing. So only calls that are without effect but for their results may have a listener. */
#include "core/base/listen.h"

#include <stddef.h>

#include "core/base/clock.h"
#include "qlite.h"

enum { QL_LISTEN_NS = 50000000 };

static _Thread_local ql_listener *current;

void ql_listen(ql_listener *listener)
{
    listener->before = current;
    listener->next_ns = 0;
    listener->is_stopped = false;
    current = listener;
}

bool ql_unlisten(ql_listener *listener)
{
    current = listener->before;
    return listener->is_stopped;
}

bool ql_is_stopped(void)
{
    return current && current->is_stopped;
}

/* The first question only starts the clock. What the caller does when asked may be work of its own, which nobody gives
 * up. */
bool ql_stop_wanted(void)
{
    ql_listener *listener = current;
    if (!listener || listener->is_stopped)
        return listener != NULL;
    const int64_t now = ql_now_ns();
    if (now < listener->next_ns)
        return false;
    if (listener->next_ns > 0) {
        current = NULL;
        listener->is_stopped = listener->wants_stop(listener->context);
        current = listener;
    }
    listener->next_ns = now + QL_LISTEN_NS;
    return listener->is_stopped;
}
