/* exceptions.c: tags, and exceptions on their way between guests and the host.
 *
 * Out of a guest: an exception that no guest catches ends the call, and Wasmtime leaves it in its store. wt_exception_catch
 * takes it from there at once, and our store keeps it until the host has read it. Into a guest: wt_exception_throw makes an
 * exception and the trap by which Wasmtime throws it; the trap is returned by wt_unwind, when the host function ends.
 */
#include "exceptions.h"

#include "externs.h"
#include "failures.h"

/* Values of an exception that lie on the C stack. */
enum { FEW_VALUES = 8 };

/* ---- tags ---- */

int wt_tag_new(wrt_store *store, const uint8_t *types, size_t count, wrt_extern *out, wrt_failure *failure) {
  wasm_tagtype_t *type = wt.wasm_tagtype_new(wt_new_functype(store->engine, types, count, 0)); /* takes the function type */
  if (type == NULL) return wt_fail_memory(failure);
  wasmtime_extern ext = {.kind = WASMTIME_EXTERN_TAG};
  wasmtime_error_t *error = wt.wasmtime_tag_new(store->context, type, &ext.of.tag);
  wt.wasm_tagtype_delete(type);
  if (error != NULL) return wt_fail_error(failure, WRT_ERROR, error);
  return wt_give_extern(store, &ext, out) ? WRT_OK : wt_fail_memory(failure);
}

/* ---- out of a guest ---- */

void wt_exception_drop(wrt_store *store) {
  if (store->has_exception) wt.wasmtime_exnref_unroot(&store->exception);
  store->has_exception = false;
}

/* Takes the exception, as a host function: Wasmtime releases what it roots in one when that ends. Outside of a host function,
 * the exception would stay rooted for as long as the store lives. */
static wasm_trap_t *take_inside(void *env, wasmtime_caller_t *caller, wasmtime_val_raw *slots, size_t count) {
  wrt_store *store = env;
  wasmtime_exnref exception;
  (void)caller, (void)slots, (void)count;
  if (!wt.wasmtime_context_take_exception(store->context, &exception)) return NULL;
  wt_exception_drop(store);
  store->exception = exception;
  store->has_exception = store->threw = true;
  return NULL;
}

static void make_taker(wrt_store *store) {
  wasm_functype_t *type = wt_new_functype(store->engine, NULL, 0, 0);
  wt.wasmtime_func_new_unchecked(store->context, type, take_inside, store, NULL, &store->taker);
  wt.wasm_functype_delete(type);
  store->has_taker = true;
}

/* Calls `taker` in an asynchronous store, where it ends at its first poll, as it does not wait. */
static void call_taker_async(wrt_store *store) {
  wasm_trap_t *trap = NULL;
  wasmtime_error_t *error = NULL;
  wasmtime_call_future_t *future =
      wt.wasmtime_func_call_async(store->context, &store->taker, NULL, 0, NULL, 0, &trap, &error);
  wt.wasmtime_call_future_poll(future);
  wt.wasmtime_call_future_delete(future);
  if (trap != NULL) wt.wasm_trap_delete(trap);
  if (error != NULL) wt.wasmtime_error_delete(error);
}

/* Every so often has the engine reclaim what exceptions held. Counts each exception that the host threw or caught. */
static void count_exception(wrt_store *store) {
  if (++store->exceptions % EXCEPTIONS_PER_COLLECTION != 0) return;
  wasmtime_error_t *error = wt.wasmtime_context_gc(store->context);
  if (error != NULL) wt.wasmtime_error_delete(error); /* nothing was reclaimed; the next allocation will tell */
}

bool wt_exception_catch(wrt_store *store) {
  if (!store->has_taker) make_taker(store);
  wasm_trap_t *trap = NULL;
  wasmtime_val_raw none;
  store->threw = false;
  wasmtime_error_t *error = wt.wasmtime_func_call_unchecked(store->context, &store->taker, &none, 0, &trap);
  if (trap != NULL) wt.wasm_trap_delete(trap);
  if (error != NULL) { /* an asynchronous store, where synchronous calls are errors */
    wt.wasmtime_error_delete(error);
    call_taker_async(store);
  }
  if (store->threw) count_exception(store);
  return store->threw;
}

bool wt_exception_tag(wrt_store *store, wrt_extern *out) {
  wasmtime_extern ext = {.kind = WASMTIME_EXTERN_TAG};
  if (!store->has_exception) return false;
  wasmtime_error_t *error = wt.wasmtime_exnref_tag(store->context, &store->exception, &ext.of.tag);
  if (error == NULL) return wt_give_extern(store, &ext, out);
  wt.wasmtime_error_delete(error);
  return false;
}

bool wt_exception_is(wrt_store *store, const wrt_ref *root) {
  return store->has_exception && wt.wasmtime_exnref_to_raw(store->context, &store->exception) ==
                                     wt.wasmtime_exnref_to_raw(store->context, (const wasmtime_exnref *)root);
}

int wt_exception_values(wrt_store *store, wrt_slot *out, wrt_failure *failure) {
  if (!store->has_exception) return wt_fail(failure, WRT_ERROR, "there is no exception to read");
  size_t count = wt.wasmtime_exnref_field_count(store->context, &store->exception);
  wasmtime_error_t *error = NULL;
  for (size_t i = 0; i < count && error == NULL; i++) {
    wasmtime_val value;
    error = wt.wasmtime_exnref_field(store->context, &store->exception, i, &value);
    if (error != NULL) break;
    wt_val_to_slot(store, &value, &out[2 * i]);
    wt.wasmtime_val_unroot(&value);
  }
  wt_exception_drop(store);
  return error == NULL ? WRT_OK : wt_fail_error(failure, WRT_ERROR, error);
}

int wt_exception_of(wrt_store *store, const wrt_slot *slot, wrt_failure *failure) {
  wasmtime_exnref exception;
  wt.wasmtime_exnref_from_raw(store->context, slot->u32, &exception);
  if (exception.store_id == 0) return wt_fail(failure, WRT_ERROR, "there is no exception in a null reference");
  wt_exception_drop(store);
  store->exception = exception;
  store->has_exception = true;
  return WRT_OK;
}

/* ---- into a guest ---- */

int wt_exception_throw(wrt_store *store, const wrt_extern *tag, const wrt_slot *values, wrt_ref *root,
                       wrt_failure *failure) {
  wrt_extern_type type;
  int result = wt_extern_type(store, tag, &type, failure);
  if (result != WRT_OK) return result;
  wasmtime_val few[FEW_VALUES], *fields = few;
  if (type.param_count > FEW_VALUES && (fields = calloc(type.param_count, sizeof *fields)) == NULL) {
    wt_type_clear(&type);
    return wt_fail_memory(failure);
  }
  for (size_t i = 0; i < type.param_count; i++)
    wt_val_from_slot(store, (wrt_type)type.types[i], &values[2 * i], &fields[i]);
  wasmtime_exnref exception;
  wasmtime_error_t *error =
      wt.wasmtime_exnref_new(store->context, &unwrap(tag)->of.tag, fields, type.param_count, &exception);
  for (size_t i = 0; i < type.param_count; i++) wt.wasmtime_val_unroot(&fields[i]);
  if (fields != few) free(fields);
  wt_type_clear(&type);
  if (error != NULL) return wt_fail_error(failure, WRT_ERROR, error);
  count_exception(store);
  store->throwing = wt.wasmtime_context_set_exception(store->context, &exception);
  memcpy(root, &exception, sizeof exception);
  return WRT_OK;
}

wasm_trap_t *wt_unwind(wrt_store *store, int result) {
  wasm_trap_t *trap = store->throwing;
  store->throwing = NULL;
  if (result == WRT_THROWN && trap != NULL) return trap;
  if (trap != NULL) wt.wasm_trap_delete(trap);
  store->host_failed = true;
  return wt.wasmtime_trap_new("host", 4); /* only unwinds: the host knows the reason */
}
