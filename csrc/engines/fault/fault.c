/* fault.c: engines that fail on demand. Each is another engine's table, with each operation that can fail wrapped.
 *
 * A failure replaces the operation: nothing is done, and nothing is handed out. An operation that returns a wrt_result ends in
 * WRT_ERROR; one that tells whether something was found returns false. Operations that cannot fail are the engine's own. A new
 * operation that can fail must be added here: the test that goes through the table says so.
 */
#include "fault.h"

#include <stdatomic.h>
#include <string.h>

#include "wrt_task.h"

#define OPERATIONS(X) \
  X(engine_new) X(validate) X(compile) X(text_to_binary) X(serialize) X(deserialize) X(store_new) X(function_new) \
  X(memory_new) X(table_new) X(global_new) X(instantiate) X(instance_export) X(caller_export) X(extern_type) X(call) \
  X(memory_grow) X(global_set) X(table_get) X(table_set) X(table_grow) X(ref_new) X(fuel_set) X(fuel_get) \
  X(link) X(linked_instantiate) X(tag_new) X(exception_throw) X(exception_tag) X(exception_is) X(exception_values) \
  X(profile_new) X(profile_finish) \
  X(call_checked) X(import_types) X(function_new_as) X(object_root) X(object_is) X(object_size) X(object_get) X(exception_of) \
  X(call_rows) X(call_is_short)

/* The operations of the table for tasks (wrt_task.h), by the names that they have here. */
#define TASK_OPERATIONS(X) X(function_new) X(call_begin) X(instantiate_begin) X(poll)

#define NUMBER(name) AT_##name,
#define TASK_NUMBER(name) AT_task_##name,
enum { OPERATIONS(NUMBER) TASK_OPERATIONS(TASK_NUMBER) COUNT };

#define NAME(name) #name,
#define TASK_NAME(name) "task_" #name,
static const char *const names[COUNT + 1] = {OPERATIONS(NAME) TASK_OPERATIONS(TASK_NAME) NULL};

/* A wrapper is not told whose table it is in, so each engine has wrappers of its own. */
#define EACH_ENGINE(X, ...) X(0, __VA_ARGS__) X(1, __VA_ARGS__) X(2, __VA_ARGS__)
enum { ENGINES = 3 };
static const wrt_engine_ops *inner[ENGINES];
static char message[] = "this failure was asked for";

static _Atomic uint64_t calls[COUNT];
static _Atomic int armed = -1;
static _Atomic uint64_t first, last, fired;

/* Counts the call, and tells whether it is one that is to fail. */
static bool due(int at) {
  uint64_t number = atomic_fetch_add(&calls[at], 1) + 1;
  if (atomic_load(&armed) != at || number < atomic_load(&first) || number > atomic_load(&last)) return false;
  atomic_fetch_add(&fired, 1);
  return true;
}

static int refuse(wrt_failure *failure) {
  *failure = (wrt_failure){.trap = WRT_TRAP_OTHER, .message = message};
  return WRT_ERROR;
}

/* The message is static, so the engine must not release it. */
static void failure_clear(const wrt_engine_ops *engine, wrt_failure *failure) {
  if (failure->message == message)
    *failure = (wrt_failure){.trap = WRT_TRAP_OTHER};
  else
    engine->failure_clear(failure);
}

#define CLEARING(n, ...) \
  static void fault##n##_failure_clear(wrt_failure *failure) { failure_clear(inner[n], failure); }
EACH_ENGINE(CLEARING, )

#define WRAPPER(n, name, type, failed, parameters, arguments) \
  static type fault##n##_##name parameters { return due(AT_##name) ? failed : inner[n]->name arguments; }
#define WRAPPERS(name, type, failed, parameters, arguments) \
  EACH_ENGINE(WRAPPER, name, type, failed, parameters, arguments) \
  _Static_assert(AT_##name < COUNT, "it is among OPERATIONS")
#define FAILING(name, parameters, arguments) WRAPPERS(name, int, refuse(failure), parameters, arguments)
#define MISSING(name, parameters, arguments) WRAPPERS(name, bool, false, parameters, arguments)

FAILING(engine_new,
        (const wrt_option *options, size_t count, wrt_engine **out, wrt_failure *failure),
        (options, count, out, failure));
FAILING(validate,
        (wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_failure *failure),
        (engine, bytes, size, failure));
FAILING(compile,
        (wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_module **out, wrt_failure *failure),
        (engine, bytes, size, out, failure));
FAILING(text_to_binary, (const char *text, size_t size, wrt_bytes *out, wrt_failure *failure), (text, size, out, failure));
FAILING(serialize, (wrt_module *module, wrt_bytes *out, wrt_failure *failure), (module, out, failure));
FAILING(deserialize,
        (wrt_engine *engine, const uint8_t *bytes, size_t size, wrt_module **out, wrt_failure *failure),
        (engine, bytes, size, out, failure));
FAILING(store_new,
        (wrt_engine *engine, int64_t memory_bytes, int64_t table_elements, int64_t instances, wrt_store **out,
         wrt_failure *failure),
        (engine, memory_bytes, table_elements, instances, out, failure));
FAILING(function_new,
        (wrt_store *store, const uint8_t *types, size_t param_count, size_t result_count, wrt_host_function function,
         void *env, wrt_extern *out, wrt_failure *failure),
        (store, types, param_count, result_count, function, env, out, failure));
FAILING(memory_new,
        (wrt_store *store, const wrt_extern_type *type, wrt_extern *out, wrt_failure *failure),
        (store, type, out, failure));
FAILING(table_new,
        (wrt_store *store, const wrt_extern_type *type, const wrt_slot *init, wrt_extern *out, wrt_failure *failure),
        (store, type, init, out, failure));
FAILING(global_new,
        (wrt_store *store, const wrt_extern_type *type, const wrt_slot *value, wrt_extern *out, wrt_failure *failure),
        (store, type, value, out, failure));
FAILING(instantiate,
        (wrt_store *store, wrt_module *module, const wrt_extern *imports, size_t count, wrt_instance *out,
         wrt_failure *failure),
        (store, module, imports, count, out, failure));
MISSING(instance_export,
        (wrt_store *store, const wrt_instance *instance, const char *name, size_t size, wrt_extern *out),
        (store, instance, name, size, out));
MISSING(caller_export,
        (wrt_store *store, wrt_caller *caller, const char *name, size_t size, wrt_extern *out),
        (store, caller, name, size, out));
FAILING(extern_type,
        (wrt_store *store, const wrt_extern *item, wrt_extern_type *out, wrt_failure *failure),
        (store, item, out, failure));
FAILING(call,
        (wrt_store *store, const wrt_extern *function, wrt_slot *slots, size_t slot_count, wrt_failure *failure),
        (store, function, slots, slot_count, failure));
FAILING(memory_grow,
        (wrt_store *store, const wrt_extern *memory, uint64_t delta, uint64_t *previous, wrt_failure *failure),
        (store, memory, delta, previous, failure));
FAILING(global_set,
        (wrt_store *store, const wrt_extern *global, const wrt_slot *value, wrt_failure *failure),
        (store, global, value, failure));
MISSING(table_get, (wrt_store *store, const wrt_extern *table, uint64_t index, wrt_slot *out), (store, table, index, out));
FAILING(table_set,
        (wrt_store *store, const wrt_extern *table, uint64_t index, const wrt_slot *value, wrt_failure *failure),
        (store, table, index, value, failure));
FAILING(table_grow,
        (wrt_store *store, const wrt_extern *table, uint64_t delta, const wrt_slot *init, uint64_t *previous,
         wrt_failure *failure),
        (store, table, delta, init, previous, failure));
FAILING(ref_new,
        (wrt_store *store, void *data, void (*finalizer)(void *data), wrt_ref *out, wrt_failure *failure),
        (store, data, finalizer, out, failure));
FAILING(fuel_set, (wrt_store *store, uint64_t fuel, wrt_failure *failure), (store, fuel, failure));
FAILING(fuel_get, (wrt_store *store, uint64_t *fuel, wrt_failure *failure), (store, fuel, failure));
FAILING(link,
        (wrt_engine *engine, wrt_module *module, const wrt_import *imports, size_t count, wrt_host_function function,
         wrt_linked **out, wrt_failure *failure),
        (engine, module, imports, count, function, out, failure));
FAILING(linked_instantiate,
        (wrt_store *store, wrt_linked *linked, void *const *envs, wrt_instance *out, wrt_failure *failure),
        (store, linked, envs, out, failure));
FAILING(tag_new,
        (wrt_store *store, const uint8_t *types, size_t count, wrt_extern *out, wrt_failure *failure),
        (store, types, count, out, failure));
FAILING(exception_throw,
        (wrt_store *store, const wrt_extern *tag, const wrt_slot *values, wrt_ref *root, wrt_failure *failure),
        (store, tag, values, root, failure));
MISSING(exception_tag, (wrt_store *store, wrt_extern *out), (store, out));
MISSING(exception_is, (wrt_store *store, const wrt_ref *root), (store, root));
FAILING(exception_values, (wrt_store *store, wrt_slot *out, wrt_failure *failure), (store, out, failure));
FAILING(call_checked,
        (wrt_store *store, const wrt_extern *function, const uint8_t *types, size_t param_count, size_t result_count,
         wrt_slot *slots, wrt_failure *failure),
        (store, function, types, param_count, result_count, slots, failure));
FAILING(import_types,
        (wrt_module *module, size_t index, uint8_t *types, size_t count, wrt_failure *failure),
        (module, index, types, count, failure));
FAILING(function_new_as,
        (wrt_store *store, wrt_module *module, size_t index, const uint8_t *types, size_t param_count, size_t result_count,
         wrt_host_function function, void *env, wrt_extern *out, wrt_failure *failure),
        (store, module, index, types, param_count, result_count, function, env, out, failure));
FAILING(object_root,
        (wrt_store *store, uint8_t type, const wrt_slot *slot, wrt_ref *out, wrt_failure *failure),
        (store, type, slot, out, failure));
MISSING(object_is, (wrt_store *store, const wrt_ref *one, const wrt_ref *other), (store, one, other));
FAILING(object_size,
        (wrt_store *store, const wrt_ref *root, uint64_t *out, wrt_failure *failure),
        (store, root, out, failure));
FAILING(object_get,
        (wrt_store *store, const wrt_ref *root, uint64_t index, wrt_type *type, wrt_slot *out, wrt_failure *failure),
        (store, root, index, type, out, failure));
FAILING(exception_of, (wrt_store *store, const wrt_slot *slot, wrt_failure *failure), (store, slot, failure));

/* These two every engine has here, so that what uses them is tested where only other engines are built. */
static int call_rows(const wrt_engine_ops *engine, wrt_store *store, const wrt_extern *function, wrt_slot *slots,
                     size_t slot_count, size_t rows, const bool *stop, size_t *done, wrt_failure *failure) {
  if (engine->call_rows != NULL) return engine->call_rows(store, function, slots, slot_count, rows, stop, done, failure);
  while (*done < rows && (*done == 0 || !*stop)) {
    int result = engine->call(store, function, slots + *done * slot_count, slot_count, failure);
    if (result != WRT_OK) return result;
    ++*done;
  }
  return WRT_OK;
}

#define ROWS(n, ...) \
  static int fault##n##_call_rows(wrt_store *store, const wrt_extern *function, wrt_slot *slots, size_t slot_count, \
                                  size_t rows, const bool *stop, size_t *done, wrt_failure *failure) { \
    if (due(AT_call_rows)) return refuse(failure); \
    return call_rows(inner[n], store, function, slots, slot_count, rows, stop, done, failure); \
  }
#define SHORT(n, ...) \
  static bool fault##n##_call_is_short(wrt_store *store, const wrt_extern *function) { \
    return !due(AT_call_is_short) && inner[n]->call_is_short != NULL && inner[n]->call_is_short(store, function); \
  }
EACH_ENGINE(ROWS, )
EACH_ENGINE(SHORT, )

FAILING(profile_new,
        (wrt_engine *engine, wrt_module *const *modules, size_t count, wrt_profile **out, wrt_failure *failure),
        (engine, modules, count, out, failure));
FAILING(profile_finish, (wrt_profile *profile, wrt_bytes *out, wrt_failure *failure), (profile, out, failure));

#define TASK_WRAPPER(n, name, parameters, arguments) \
  static int fault##n##_task_##name parameters { \
    return due(AT_task_##name) ? refuse(failure) : inner[n]->tasks->name arguments; \
  }
#define FAILING_TASK(name, parameters, arguments) \
  EACH_ENGINE(TASK_WRAPPER, name, parameters, arguments) \
  _Static_assert(AT_task_##name < COUNT, "it is among TASK_OPERATIONS")

FAILING_TASK(function_new,
             (wrt_store *store, const uint8_t *types, size_t param_count, size_t result_count,
              wrt_host_function function, void *env, wrt_extern *out, wrt_failure *failure),
             (store, types, param_count, result_count, function, env, out, failure));
FAILING_TASK(call_begin,
             (wrt_store *store, const wrt_extern *function, const uint8_t *types, size_t param_count,
              size_t result_count, wrt_slot *slots, wrt_task **out, wrt_failure *failure),
             (store, function, types, param_count, result_count, slots, out, failure));
FAILING_TASK(instantiate_begin,
             (wrt_store *store, wrt_module *module, const wrt_extern *imports, size_t count, wrt_instance *out,
              wrt_task **task, wrt_failure *failure),
             (store, module, imports, count, out, task, failure));
FAILING_TASK(poll, (wrt_task *task, bool rested, wrt_failure *failure), (task, rested, failure));

/* The wrapped table for tasks, if the engine has one. */
static const wrt_task_ops *wrap_tasks(int n) {
  static wrt_task_ops wrapped[ENGINES];
  if (inner[n]->tasks == NULL) return NULL;
  wrapped[n] = *inner[n]->tasks;
#define WRAP_TASK_OF(engine, name) if (n == engine) wrapped[n].name = fault##engine##_task_##name;
#define WRAP_TASK(name) EACH_ENGINE(WRAP_TASK_OF, name)
  TASK_OPERATIONS(WRAP_TASK)
  return &wrapped[n];
}

const wrt_engine_ops *wrt_fault_ops(const wrt_engine_ops *engine) {
  static wrt_engine_ops wrapped[ENGINES];
  int n = 0;
  while (n < ENGINES && inner[n] != NULL && inner[n] != engine) n++;
  if (n == ENGINES) return NULL;
  if (inner[n] == engine) return &wrapped[n];
  inner[n] = engine;
  wrapped[n] = *engine;
#define WRAP_OF(engine, name) if (n == engine && wrapped[n].name != NULL) wrapped[n].name = fault##engine##_##name;
#define WRAP(name) EACH_ENGINE(WRAP_OF, name)
  OPERATIONS(WRAP)
#define WRAP_ALWAYS(engine, ...) \
  if (n == engine) { \
    wrapped[n].call_rows = fault##engine##_call_rows; \
    wrapped[n].call_is_short = fault##engine##_call_is_short; \
    wrapped[n].failure_clear = fault##engine##_failure_clear; \
  }
  EACH_ENGINE(WRAP_ALWAYS, )
  wrapped[n].tasks = wrap_tasks(n);
  return &wrapped[n];
}

const char *const *wrt_fault_operations(void) { return names; }

static int find(const char *operation) {
  for (int at = 0; at < COUNT; at++)
    if (strcmp(names[at], operation) == 0) return at;
  return -1;
}

bool wrt_fault_arm(const char *operation, uint64_t first_call, uint64_t count) {
  int at = operation == NULL || count == 0 ? -1 : find(operation);
  atomic_store(&armed, -1);
  for (int each = 0; each < COUNT; each++) atomic_store(&calls[each], 0);
  atomic_store(&fired, 0);
  atomic_store(&first, first_call);
  atomic_store(&last, first_call + count - 1);
  atomic_store(&armed, at);
  return at >= 0 || operation == NULL || count == 0;
}

uint64_t wrt_fault_calls(const char *operation) {
  int at = find(operation);
  return at < 0 ? 0 : atomic_load(&calls[at]);
}

uint64_t wrt_fault_fired(void) { return atomic_load(&fired); }
