/* component_tasks.h: calls of components that can be suspended. For this folder only. */
#ifndef WRT_WASMTIME_COMPONENT_TASKS_H
#define WRT_WASMTIME_COMPONENT_TASKS_H

#include "component_api.h"
#include "wrt_task.h"

#pragma GCC visibility push(hidden)

/* What a host function or resource of a linker needs; owned by Wasmtime. */
typedef struct host_entry {
  wrt_component_host function;
  wrt_component_drop drop;
  void *env;
} host_entry;

/* What Wasmtime calls for a host function that may wait; `env` is its host_entry. */
void wc_call_waiting(void *env, wasmtime_context_t *context, const wasmtime_component_func_type_t *type, wrt_value *args,
                     size_t arg_count, wrt_value *results, size_t result_count, wasmtime_error_t **error,
                     wasmtime_async_continuation *continuation);

/* The members of wrt_component_ops with these names. */
int wc_instantiate_begin(wrt_store *store, wrt_linker *linker, wrt_component *component, wrt_component_instance *out,
                         wrt_task **task, wrt_failure *failure);
int wc_call_begin(wrt_store *store, const wrt_component_function *function, const wrt_value *args, size_t arg_count,
                  wrt_value *results, size_t result_count, wrt_task **task, wrt_failure *failure);

#pragma GCC visibility pop

#endif
