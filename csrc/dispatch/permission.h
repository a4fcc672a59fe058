/* Whether this process may use the tiles of AMX. That the CPU and the system have them is seen at once; the system also
 * wants to be asked, and its yes changes the whole process: from then on signal stacks have to hold the tiles, 8 KB,
 * and smaller ones are refused. So it is asked once, by the first product that would use them (ql_tiles_permission of
 * kernels.h), or by who chooses them by name. */
#ifndef QL_PERMISSION_H
#define QL_PERMISSION_H

#include <stdbool.h>

/* Whether there are tiles: CPU, their palette and the system's state of registers. */
bool ql_tiles_exist(void);

/* Whether the system was asked and said no. */
bool ql_tiles_refused(void);

#endif
