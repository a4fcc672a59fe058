/* Search for the least value of a function of one variable: a ladder of fractions, then golden sections. */
#ifndef QL_LINE_SEARCH_H
#define QL_LINE_SEARCH_H

/* Rungs of the ladder in an octave. */
enum { QL_RUNGS = 16 };

/* Returns 2^(-i / QL_RUNGS), i >= 0, without the C library's powers: their last bits differ from one to the next. */
double ql_rung(int i);

typedef struct ql_point {
    double x, value;
} ql_point;

/* Narrows [left, right] down by golden sections. Returns the best point that was looked at. */
ql_point ql_golden_section(double (*function)(const void *of, double x), const void *of, double left, double right);

#endif
