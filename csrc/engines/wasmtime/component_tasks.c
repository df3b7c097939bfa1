/* component_tasks.c: calls of components that can be suspended, as tasks.c has them for modules.
 *
 * Wasmtime frees the arguments of a host function before the function can first wait. So the host takes them at the first call,
 * and is called again without them. The results keep their place until the call is over.
 */
#include "component_tasks.h"

#include "failures.h"
#include "reserve.h"
#include "tasks.h"

int wc_instantiate_begin(wrt_store *store, wrt_linker *linker, wrt_component *component, wrt_component_instance *out,
                         wrt_task **task, wrt_failure *failure) {
  wrt_task *self = calloc(1, sizeof *self);
  if (self == NULL) return wt_fail_memory(failure);
  wt_reserve_hold();
  self->store = store;
  self->of_component = true;
  self->otherwise = WRT_LINK;
  self->component_out = out;
  self->future = wc.wasmtime_component_linker_instantiate_async((wasmtime_component_linker_t *)linker, store->context,
                                                                (wasmtime_component_t *)component,
                                                                &self->component_instance, &self->error);
  *task = self;
  return WRT_OK;
}

int wc_call_begin(wrt_store *store, const wrt_component_function *function, const wrt_value *args, size_t arg_count,
                  wrt_value *results, size_t result_count, wrt_task **task, wrt_failure *failure) {
  wrt_task *self = calloc(1, sizeof *self);
  if (self == NULL) return wt_fail_memory(failure);
  wt_reserve_hold();
  self->store = store;
  self->of_component = true;
  self->otherwise = WRT_TRAP;
  self->future = wc.wasmtime_component_func_call_async((const wasmtime_component_func *)function, store->context, args,
                                                       arg_count, results, result_count, &self->error);
  *task = self;
  return WRT_OK;
}

/* ---- host functions ---- */

/* One call of a host function that waits; freed by Wasmtime when the call is over, or is unwound. */
typedef struct waiting_call {
  host_entry *entry; /* borrowed: Wasmtime keeps it with the linker, and with each store that was instantiated from it */
  wrt_store *store;
  wrt_value *results; /* borrowed, until the call is over */
  size_t result_count;
} waiting_call;

/* Calls the host again, on the guest's stack; returns whether the call is over. */
static bool ask_host(void *env) {
  waiting_call *call = env;
  return call->entry->function(call->entry->env, call->store->host, NULL, 0, call->results, call->result_count) !=
         WRT_PENDING;
}

static bool is_over(void *env) {
  (void)env;
  return true;
}

void wc_call_waiting(void *env, wasmtime_context_t *context, const wasmtime_component_func_type_t *type, wrt_value *args,
                     size_t arg_count, wrt_value *results, size_t result_count, wasmtime_error_t **error,
                     wasmtime_async_continuation *continuation) {
  (void)type;
  host_entry *entry = env;
  wrt_store *store = wt.wasmtime_context_get_data(context);
  *continuation = (wasmtime_async_continuation){.callback = is_over};
  waiting_call *call = malloc(sizeof *call);
  if (call == NULL) {
    *error = wt.wasmtime_error_new("out of memory");
    return;
  }
  *call = (waiting_call){entry, store, results, result_count};
  *continuation = (wasmtime_async_continuation){.callback = ask_host, .env = call, .finalizer = free};
  int answer = entry->function(entry->env, store->host, args, arg_count, results, result_count);
  if (answer == WRT_OK) continuation->callback = is_over;
  if (answer == WRT_OK || answer == WRT_PENDING) return;
  store->host_failed = true;
  *error = wt.wasmtime_error_new("host"); /* only unwinds: the host knows the reason */
}
