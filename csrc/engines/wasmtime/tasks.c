/* tasks.c: calls that can be suspended. Wasmtime runs the guest of such a call on a stack of its own (a fiber) while its
 * future is polled, and the future's deletion unwinds a guest that is suspended in it.
 *
 * Who owns what: a task owns its future and all that the future borrows: Wasmtime wants arguments, results and the places of
 * trap and error to stay where they are until the future is deleted. The record of an asynchronous host function belongs to
 * Wasmtime, like that of any other; the state of one call is made when the guest calls, and freed by Wasmtime when the call is
 * over or unwound.
 */
#include "tasks.h"

#include "exceptions.h"
#include "externs.h"
#include "failures.h"
#include "reserve.h"

static void task_drop(wrt_task *task) {
  if (task->future != NULL) wt.wasmtime_call_future_delete(task->future); /* first: it borrows the rest */
  if (task->trap != NULL) wt.wasm_trap_delete(task->trap);
  if (task->error != NULL) wt.wasmtime_error_delete(task->error);
  if (task->linker != NULL) wt.wasmtime_linker_delete(task->linker);
  if (task->module != NULL) wt.wasmtime_module_delete(task->module);
  task->store->host_failed = false; /* in case an unwound guest has left it set */
  free(task);
}

static int task_poll(wrt_task *task, bool rested, wrt_failure *failure) {
  wrt_store *store = task->store;
  if (rested) wt.wasmtime_context_set_epoch_deadline(store->context, 1); /* ticks while it was suspended do not count */
  if (!wt.wasmtime_call_future_poll(task->future)) return WRT_PENDING;
  wasm_trap_t *trap = task->trap;
  wasmtime_error_t *error = task->error;
  task->trap = NULL;
  task->error = NULL;
  if (trap != NULL || error != NULL) {
    int result = task->of_component ? wt_fail_traced(store, failure, task->otherwise, error)
                                    : wt_fail_guest(store, failure, task->otherwise, error, trap);
    if (result == task->otherwise && failure->message != NULL) wt_reserve_release(failure->message, strlen(failure->message));
    return result;
  }
  if (task->out != NULL) memcpy(task->out, &task->instance, sizeof task->instance);
  if (task->component_out != NULL) memcpy(task->component_out, &task->component_instance, sizeof task->component_instance);
  for (size_t i = 0; i < task->result_count; i++) {
    wt_val_to_slot(store, &task->results[i], &task->slots[2 * i]);
    wt.wasmtime_val_unroot(&task->results[i]);
  }
  return WRT_OK;
}

/* ---- calls ---- */

static int call_begin(wrt_store *store, const wrt_extern *function, const uint8_t *types, size_t param_count,
                      size_t result_count, wrt_slot *slots, wrt_task **out, wrt_failure *failure) {
  wrt_task *task = calloc(1, sizeof *task + result_count * sizeof *task->results);
  if (task == NULL) return wt_fail_memory(failure);
  wasmtime_val few[8] = {{0}}, *args = few;
  if (param_count > sizeof few / sizeof *few && (args = calloc(param_count, sizeof *args)) == NULL) {
    free(task);
    return wt_fail_memory(failure);
  }
  wt_reserve_hold();
  task->store = store;
  task->otherwise = WRT_ERROR;
  task->function = unwrap(function)->of.func;
  task->result_count = result_count;
  task->slots = slots;
  for (size_t i = 0; i < param_count; i++) wt_val_from_slot(store, (wrt_type)types[i], &slots[2 * i], &args[i]);
  task->future = wt.wasmtime_func_call_async(store->context, &task->function, args, param_count, task->results,
                                             result_count, &task->trap, &task->error); /* copies the arguments */
  for (size_t i = 0; i < param_count; i++) wt.wasmtime_val_unroot(&args[i]);
  if (args != few) free(args);
  *out = task;
  return WRT_OK;
}

/* ---- instantiation ---- */

static bool same_name(const wasm_importtype_t *one, const wasm_importtype_t *other) {
  const wasm_byte_vec *module = wt.wasm_importtype_module(one), *other_module = wt.wasm_importtype_module(other);
  const wasm_byte_vec *name = wt.wasm_importtype_name(one), *other_name = wt.wasm_importtype_name(other);
  return module->size == other_module->size && name->size == other_name->size &&
         memcmp(module->data, other_module->data, module->size) == 0 && memcmp(name->data, other_name->data, name->size) == 0;
}

/* Whether two imports of one name are the same extern, or host functions of the same type, which then stand for one Python
 * function. */
static bool same_import(wrt_store *store, const wrt_extern *one, const wrt_extern *other) {
  if (memcmp(one, other, sizeof *one) == 0) return true;
  wrt_extern_type type, other_type;
  wrt_failure unused; /* the types of functions are copied; without memory for that, the two count as different */
  if (wt_extern_type(store, one, &type, &unused) != WRT_OK) return false;
  bool same = false;
  if (wt_extern_type(store, other, &other_type, &unused) == WRT_OK) {
    same = type.kind == WRT_FUNCTION && other_type.kind == WRT_FUNCTION && type.param_count == other_type.param_count &&
           type.result_count == other_type.result_count &&
           memcmp(type.types, other_type.types, type.param_count + type.result_count) == 0;
    wt_type_clear(&other_type);
  }
  wt_type_clear(&type);
  return same;
}

/* Puts the imports into the task's linker: an asynchronous store can only be instantiated in by names. */
static int define_imports(wrt_task *task, const wasm_importtype_vec *types, const wrt_extern *imports,
                          wrt_failure *failure) {
  wasmtime_context_t *context = task->store->context;
  for (size_t i = 0; i < types->size; i++) {
    const wasm_byte_vec *module = wt.wasm_importtype_module(types->data[i]);
    const wasm_byte_vec *name = wt.wasm_importtype_name(types->data[i]);
    wasmtime_error_t *error = wt.wasmtime_linker_define(task->linker, context, module->data, module->size, name->data,
                                                        name->size, unwrap(&imports[i]));
    if (error == NULL) continue;
    size_t first = 0;
    while (!same_name(types->data[first], types->data[i])) first++; /* ends at i at the latest */
    if (first == i) return wt_fail_error(failure, WRT_LINK, error);
    wt.wasmtime_error_delete(error); /* the name is defined already */
    if (!same_import(task->store, &imports[first], &imports[i]))
      return wt_fail(failure, WRT_UNSUPPORTED, "an asynchronous store cannot serve a module that imports one name twice, "
                                               "with two types");
  }
  return WRT_OK;
}

static int instantiate_begin(wrt_store *store, wrt_module *module, const wrt_extern *imports, size_t count,
                             wrt_instance *out, wrt_task **task, wrt_failure *failure) {
  wrt_task *self = calloc(1, sizeof *self);
  if (self == NULL) return wt_fail_memory(failure);
  wt_reserve_hold();
  self->store = store;
  self->otherwise = WRT_LINK;
  self->out = out;
  self->linker = wt.wasmtime_linker_new(store->engine->engine);
  self->module = wt.wasmtime_module_clone((wasmtime_module_t *)module);
  wasm_importtype_vec types;
  wt.wasmtime_module_imports(self->module, &types);
  int result = types.size == count ? define_imports(self, &types, imports, failure)
                                   : wt_fail(failure, WRT_LINK, "the module has another number of imports");
  wt.wasm_importtype_vec_delete(&types);
  if (result != WRT_OK) {
    task_drop(self);
    return result;
  }
  self->future = wt.wasmtime_linker_instantiate_async(self->linker, store->context, self->module, &self->instance,
                                                      &self->trap, &self->error);
  *task = self;
  return WRT_OK;
}

/* ---- host functions ---- */

/* Made for each function_new; freed by Wasmtime with the store. */
typedef struct async_record {
  wrt_store *store;
  wrt_host_function function;
  void *env;
  size_t param_count;
  size_t result_count;
  uint8_t types[]; /* params, then results */
} async_record;

/* One call of it. The slots are the host's for as long as the guest waits, so they cannot be Wasmtime's own values. */
typedef struct async_call {
  async_record *record; /* borrowed: the store keeps it */
  wrt_caller *caller;
  wasmtime_val *results; /* borrowed, as is `trap`, until the call is over */
  wasm_trap_t **trap;
  wrt_slot slots[];
} async_call;

/* Calls the host, on the guest's stack; returns whether the call is over. */
static bool ask_host(void *env) {
  async_call *call = env;
  async_record *record = call->record;
  int answer = record->function(record->env, call->caller, call->slots);
  if (answer == WRT_PENDING) return false;
  if (answer != WRT_OK) {
    *call->trap = wt_unwind(record->store, answer);
    return true;
  }
  const uint8_t *types = record->types + record->param_count;
  for (size_t i = 0; i < record->result_count; i++)
    wt_val_from_slot(record->store, (wrt_type)types[i], &call->slots[2 * i], &call->results[i]); /* Wasmtime's from here on */
  return true;
}

static bool is_over(void *env) {
  (void)env;
  return true;
}

static void call_host(void *env, wasmtime_caller_t *caller, const wasmtime_val *args, size_t arg_count, wasmtime_val *results,
                      size_t result_count, wasm_trap_t **trap, wasmtime_async_continuation *continuation) {
  async_record *record = env;
  size_t values = arg_count > result_count ? arg_count : result_count;
  async_call *call = malloc(sizeof *call + 2 * values * sizeof *call->slots);
  *continuation = (wasmtime_async_continuation){.callback = call == NULL ? is_over : ask_host, .env = call, .finalizer = free};
  if (call == NULL) {
    *trap = wt.wasmtime_trap_new("out of memory", 13);
    return;
  }
  *call = (async_call){.record = record, .caller = (wrt_caller *)caller, .results = results, .trap = trap};
  for (size_t i = 0; i < arg_count; i++) wt_val_to_slot(record->store, &args[i], &call->slots[2 * i]);
}

static int function_new(wrt_store *store, const uint8_t *types, size_t param_count, size_t result_count,
                        wrt_host_function function, void *env, wrt_extern *out, wrt_failure *failure) {
  async_record *record = malloc(sizeof *record + param_count + result_count);
  if (record == NULL) return wt_fail_memory(failure);
  *record = (async_record){
      .store = store, .function = function, .env = env, .param_count = param_count, .result_count = result_count};
  memcpy(record->types, types, param_count + result_count);
  if (store->linker == NULL) {
    store->linker = wt.wasmtime_linker_new(store->engine->engine);
    wt.wasmtime_linker_allow_shadowing(store->linker, true); /* each definition is used once, to get its function */
  }
  wasm_functype_t *type = wt_new_functype(store->engine, types, param_count, result_count);
  wasmtime_error_t *error = wt.wasmtime_linker_define_async_func(store->linker, "", 0, "", 0, type, call_host, record, free);
  wt.wasm_functype_delete(type); /* Wasmtime has taken the record, even on failure */
  if (error != NULL) return wt_fail_error(failure, WRT_ERROR, error);
  wasmtime_extern ext;
  if (!wt.wasmtime_linker_get(store->linker, store->context, "", 0, "", 0, &ext))
    return wt_fail(failure, WRT_ERROR, "the engine does not find the host function that it has just made");
  return wt_give_extern(store, &ext, out) ? WRT_OK : wt_fail_memory(failure);
}

const wrt_task_ops wt_tasks = {
    .function_new = function_new,
    .call_begin = call_begin,
    .instantiate_begin = instantiate_begin,
    .poll = task_poll,
    .drop = task_drop,
};
