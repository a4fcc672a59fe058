/* Calls of the core that Ctrl-C ends. Handlers of signals run where Python is: the thread that waits for the core goes
 * there now and then. */
#include "python/glue.h"

static bool handle_signals(void *context)
{
    ql_py_pause *pause = context;
    PyEval_RestoreThread(pause->state);
    const bool has_raised = PyErr_CheckSignals() < 0;
    pause->state = PyEval_SaveThread();
    return has_raised;
}

void ql_py_begin(ql_py_pause *pause)
{
    pause->listener.wants_stop = handle_signals;
    pause->listener.context = pause;
    ql_listen(&pause->listener);
    pause->state = PyEval_SaveThread();
}

ql_status ql_py_end(ql_py_pause *pause, ql_status status)
{
    PyEval_RestoreThread(pause->state);
    return ql_unlisten(&pause->listener) ? QL_ESTOPPED : status;
}
