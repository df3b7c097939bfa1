/* component.c: a table for components that fails on demand: Wasmtime's, with each operation that can fail wrapped.
 *
 * As in fault.c, a failure replaces the operation. This table is armed separately, as it belongs to one engine only.
 */
#include <stdatomic.h>
#include <string.h>

#include "fault.h"

#define OPERATIONS(X) \
  X(compile) X(serialize) X(deserialize) X(linker_new) X(scope_new) X(define_function) X(define_resource) X(define_wasi) \
  X(store_wasi) X(instantiate) X(instance_function) X(call) X(resource_new) X(resource_rep) X(resource_drop) \
  X(define_waiting) X(instantiate_begin) X(call_begin)

#define NUMBER(name) AT_##name,
enum { OPERATIONS(NUMBER) COUNT };

#define NAME(name) #name,
static const char *const names[COUNT + 1] = {OPERATIONS(NAME) NULL};

static const wrt_component_ops *inner;
static _Atomic int armed = -1;
static _Atomic uint64_t number, first, last, fired;

static bool due(int at) {
  if (atomic_load(&armed) != at) return false;
  uint64_t now = atomic_fetch_add(&number, 1) + 1;
  if (now < atomic_load(&first) || now > atomic_load(&last)) return false;
  atomic_fetch_add(&fired, 1);
  return true;
}

/* The message is on the heap and released like the engine's own. */
static int refuse(wrt_failure *failure) {
  char *message = strdup("this failure was asked for");
  *failure = (wrt_failure){.trap = WRT_TRAP_OTHER, .message = message};
  return message == NULL ? WRT_LIMIT : WRT_ERROR; /* without memory, at least a different result */
}

#define FAILING(name, parameters, arguments) \
  static int fault_##name parameters { return due(AT_##name) ? refuse(failure) : inner->name arguments; } \
  _Static_assert(AT_##name < COUNT, "it is among OPERATIONS")

FAILING(compile, (wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_component **out, wrt_failure *failure),
        (engine, bytes, size, out, failure));
FAILING(serialize, (wrt_component *component, wrt_bytes *out, wrt_failure *failure), (component, out, failure));
FAILING(deserialize, (wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_component **out, wrt_failure *failure),
        (engine, bytes, size, out, failure));
FAILING(linker_new, (wrt_engine *engine, wrt_linker **out, wrt_failure *failure), (engine, out, failure));
FAILING(scope_new, (wrt_linker *linker, const char *name, size_t size, wrt_linker_scope **out, wrt_failure *failure),
        (linker, name, size, out, failure));
FAILING(define_function,
        (wrt_linker_scope *scope, const char *name, size_t size, wrt_component_host function, void *env,
         wrt_failure *failure),
        (scope, name, size, function, env, failure));
FAILING(define_resource,
        (wrt_linker_scope *scope, const char *name, size_t size, uint32_t type, wrt_component_drop drop, void *env,
         wrt_failure *failure),
        (scope, name, size, type, drop, env, failure));
FAILING(define_wasi, (wrt_linker *linker, bool http, wrt_failure *failure), (linker, http, failure));
FAILING(store_wasi, (wrt_store *store, const wrt_component_wasi *wasi, wrt_failure *failure), (store, wasi, failure));
FAILING(instantiate,
        (wrt_store *store, wrt_linker *linker, wrt_component *component, wrt_component_instance *out,
         wrt_failure *failure),
        (store, linker, component, out, failure));
FAILING(call,
        (wrt_store *store, const wrt_component_function *function, const wrt_value *args, size_t arg_count,
         wrt_value *results, size_t result_count, wrt_failure *failure),
        (store, function, args, arg_count, results, result_count, failure));
FAILING(resource_new,
        (wrt_store *store, uint32_t type, uint32_t rep, bool owned, wrt_resource **out, wrt_failure *failure),
        (store, type, rep, owned, out, failure));
FAILING(resource_rep,
        (wrt_store *store, const wrt_resource *resource, uint32_t *rep, bool *owned, wrt_failure *failure),
        (store, resource, rep, owned, failure));
FAILING(resource_drop, (wrt_store *store, const wrt_resource *resource, wrt_failure *failure),
        (store, resource, failure));

FAILING(define_waiting,
        (wrt_linker_scope *scope, const char *name, size_t size, wrt_component_host function, void *env,
         wrt_failure *failure),
        (scope, name, size, function, env, failure));
FAILING(instantiate_begin,
        (wrt_store *store, wrt_linker *linker, wrt_component *component, wrt_component_instance *out, wrt_task **task,
         wrt_failure *failure),
        (store, linker, component, out, task, failure));
FAILING(call_begin,
        (wrt_store *store, const wrt_component_function *function, const wrt_value *args, size_t arg_count,
         wrt_value *results, size_t result_count, wrt_task **task, wrt_failure *failure),
        (store, function, args, arg_count, results, result_count, task, failure));

static bool fault_instance_function(wrt_store *store, const wrt_component_instance *instance, const char *interface,
                                    size_t interface_size, const char *name, size_t size, wrt_component_function *out) {
  return !due(AT_instance_function) &&
         inner->instance_function(store, instance, interface, interface_size, name, size, out);
}

const wrt_component_ops *wrt_fault_component_ops(const wrt_component_ops *engine) {
  static wrt_component_ops wrapped;
  inner = engine;
  wrapped = *engine;
#define WRAP(name) wrapped.name = fault_##name;
  OPERATIONS(WRAP)
  return &wrapped;
}

const char *const *wrt_fault_component_operations(void) { return names; }

bool wrt_fault_component_arm(const char *operation, uint64_t first_call, uint64_t count) {
  atomic_store(&armed, -1);
  atomic_store(&number, 0);
  atomic_store(&fired, 0);
  atomic_store(&first, first_call);
  atomic_store(&last, first_call + count - 1);
  for (int at = 0; operation != NULL && at < COUNT; at++)
    if (strcmp(names[at], operation) == 0) atomic_store(&armed, at);
  return operation == NULL || atomic_load(&armed) >= 0;
}

uint64_t wrt_fault_component_fired(void) { return atomic_load(&fired); }
