/* wrt_task.h: the part of the contract for guests that wait.
 *
 * An engine that can suspend a guest in the middle of a call has a second table (wrt_task_ops), reached from the first. A call
 * is then a task: it is begun, polled until it has ended, and dropped. The guest runs on a stack of its own, during a poll
 * and on the thread that polls; between two polls it is suspended, and costs no thread.
 *
 * A guest is suspended when the host returns WRT_PENDING: from a host function that was made by this table's function_new, or
 * from the store's `poll`, which guests call at ticks. Both run on the guest's stack, so they should do little there. Once a
 * guest of a store has been suspended, the store has to be entered by tasks alone.
 *
 * The rules of wrt.h hold here too. In a store, one task runs or is suspended at a time. A host function that is pending may
 * begin another one, and polls it while it is itself being called again, so that tasks end in the reverse of the order in which
 * they began.
 */
#ifndef WRT_TASK_H
#define WRT_TASK_H

#include "wrt.h"

/* A call, or an instantiation, that can be suspended. */
typedef struct wrt_task wrt_task;

typedef struct wrt_task_ops {
  /* Makes a host function that may answer WRT_PENDING. The guest is then suspended, and at the next poll `function` is asked
   * again, with the same caller and slots, until it answers anything else. Otherwise as function_new of wrt_engine_ops: the
   * function belongs to the store, as `env` must outlive it. */
  int (*function_new)(wrt_store *store, const uint8_t *types, size_t param_count, size_t result_count,
                      wrt_host_function function, void *env, wrt_extern *out, wrt_failure *failure);

  /* Begins a call of a function whose types are `types`; the guest first runs when it is polled. The arguments are read from
   * `slots` now, and the results are written there at the end: `slots` is borrowed until the task is dropped. The task is the
   * caller's (drop). */
  int (*call_begin)(wrt_store *store, const wrt_extern *function, const uint8_t *types, size_t param_count,
                    size_t result_count, wrt_slot *slots, wrt_task **out, wrt_failure *failure);
  /* Begins to instantiate, as `instantiate` of wrt_engine_ops does; `out`, which is borrowed until the task is dropped,
   * receives the instance at the end. The task is the caller's (drop), and keeps the module. WRT_UNSUPPORTED for a module that
   * imports one name twice and is given two different externs for it; host functions of the same type count as one. */
  int (*instantiate_begin)(wrt_store *store, wrt_module *module, const wrt_extern *imports, size_t count, wrt_instance *out,
                           wrt_task **task, wrt_failure *failure);
  /* Runs the guest until it ends or is suspended. `rested` says that others had their turn since the last poll: the guest then
   * has a whole tick to itself. WRT_PENDING, with `failure` untouched, means that it is suspended; any other result means that
   * it has ended, as with `call` or `instantiate`, and the task may then only be dropped. Hands out nothing more. */
  int (*poll)(wrt_task *task, bool rested, wrt_failure *failure);
  /* Releases a task that the caller owns. A guest that is suspended in it is unwound first, without running any of its code,
   * and the store may be used as after a trap. */
  void (*drop)(wrt_task *task);
} wrt_task_ops;

#endif
