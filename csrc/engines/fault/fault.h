/* fault.h: engines that fail on demand, for tests of what happens then. Only in builds with PYWASMRT_FAULTS=1.
 *
 * Declarations only, so that cffi can read it as it stands.
 */
#ifndef WRT_FAULT_FAULT_H
#define WRT_FAULT_FAULT_H

#include "wrt.h"
#include "wrt_component.h"

/* The table of `engine`, static, in which every operation that can fail may be made to; the same table each time. NULL for a
 * fourth engine. All engines share what is armed and counted. Not to be used by two threads at a time. */
const wrt_engine_ops *wrt_fault_ops(const wrt_engine_ops *engine);
/* The names of the operations that can fail, static, ended by NULL. */
const char *const *wrt_fault_operations(void);
/* Has the operation fail `count` times, beginning with its `first`th call from now (1 is the next); disarms all others and
 * forgets what was counted. NULL, or a count of 0, disarms only. False for an operation that cannot fail. */
bool wrt_fault_arm(const char *operation, uint64_t first, uint64_t count);
/* How often the operation was called since then; 0 for one that cannot fail. */
uint64_t wrt_fault_calls(const char *operation);
/* How often any failed since then. */
uint64_t wrt_fault_fired(void);

/* The same for a table for components, of which there is one; the names are those of its members. */
const wrt_component_ops *wrt_fault_component_ops(const wrt_component_ops *engine);
const char *const *wrt_fault_component_operations(void);
bool wrt_fault_component_arm(const char *operation, uint64_t first, uint64_t count);
uint64_t wrt_fault_component_fired(void);

#endif
