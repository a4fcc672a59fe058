/* Lists by number of rows: QL_ROWS_6(X, ...) is X(1, ...) to X(6, ...), for the functions of the tiles and for their
 * names in a table. */
#ifndef QL_TILES_H
#define QL_TILES_H

#define QL_ROWS_2(X, ...) X(1, __VA_ARGS__) X(2, __VA_ARGS__)
#define QL_ROWS_3(X, ...) QL_ROWS_2(X, __VA_ARGS__) X(3, __VA_ARGS__)
#define QL_ROWS_4(X, ...) QL_ROWS_3(X, __VA_ARGS__) X(4, __VA_ARGS__)
#define QL_ROWS_6(X, ...) QL_ROWS_4(X, __VA_ARGS__) X(5, __VA_ARGS__) X(6, __VA_ARGS__)
#define QL_ROWS_8(X, ...) QL_ROWS_6(X, __VA_ARGS__) X(7, __VA_ARGS__) X(8, __VA_ARGS__)
#define QL_ROWS_12(X, ...) \
    QL_ROWS_8(X, __VA_ARGS__) X(9, __VA_ARGS__) X(10, __VA_ARGS__) X(11, __VA_ARGS__) X(12, __VA_ARGS__)

#endif
