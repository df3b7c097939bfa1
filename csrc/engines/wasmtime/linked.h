/* linked.h: modules linked once to functions of the host's. For this folder only.
 *
 * Each is the operation of the same name in the engine table; wrt.h has its contract. */
#ifndef WRT_WASMTIME_LINKED_H
#define WRT_WASMTIME_LINKED_H

#include "objects.h"

#pragma GCC visibility push(hidden)

int wt_link(wrt_engine *engine, wrt_module *module, const wrt_import *imports, size_t count, wrt_host_function function,
            wrt_linked **out, wrt_failure *failure);
int wt_linked_instantiate(wrt_store *store, wrt_linked *linked, void *const *envs, wrt_instance *out,
                          wrt_failure *failure);
void wt_linked_delete(wrt_linked *linked);

#pragma GCC visibility pop

#endif
