/* tasks.h: calls that can be suspended, by the asynchronous part of Wasmtime's C API. For this folder only. */
#ifndef WRT_WASMTIME_TASKS_H
#define WRT_WASMTIME_TASKS_H

#include "component_api.h"
#include "objects.h"
#include "wrt_task.h"

#pragma GCC visibility push(hidden)

extern const wrt_task_ops wt_tasks;

struct wrt_task {
  wrt_store *store;
  wasmtime_call_future_t *future; /* owned */
  wasm_trap_t *trap;              /* set by the future, like `error`; owned until the failure takes it */
  wasmtime_error_t *error;
  int otherwise;     /* the result for an error that is neither a trap nor the host's */
  bool of_component; /* what is instantiated or called is a component */
  /* Of a call: */
  wasmtime_func function;
  size_t result_count;
  wrt_slot *slots;
  /* Of an instantiation: */
  wasmtime_module_t *module; /* owned */
  wasmtime_linker_t *linker; /* owned */
  wrt_instance *out;         /* NULL for a call, like the next */
  wasmtime_instance instance;
  wrt_component_instance *component_out;
  wasmtime_component_instance component_instance;
  wasmtime_val results[];
};

#pragma GCC visibility pop

#endif
