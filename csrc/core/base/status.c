#include "qlite.h"

const char *ql_status_text(ql_status status)
{
    switch (status) {
    case QL_OK:
        return "no error";
    case QL_EINVAL:
        return "an argument is outside its documented range";
    case QL_ENOMEM:
        return "out of memory";
    case QL_EOVERFLOW:
        return "too deep: an int32 sum could overflow";
    case QL_ENONFINITE:
        return "the data holds NaN or infinity";
    case QL_ESTOPPED:
        return "given up";
    case QL_ECODES:
        return "expected codes from 0 to 127, which the weights were packed for";
    }
    return "unknown status";
}
