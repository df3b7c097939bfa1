/* references.c: references of the proposal gc, and functions that pass them.
 *
 * A slot holds Wasmtime's raw reference, as for an externref; its bits are the same whether the guest takes it for an externref
 * or an anyref. Functions that pass such references are called by Wasmtime's checked call, since only Wasmtime knows whether an
 * object is of the type that a guest asks for.
 */
#include "references.h"

#include "exceptions.h"
#include "externs.h"
#include "failures.h"

/* Values of a call that lie on the C stack. */
enum { FEW_VALUES = 16 };

static void unroot_all(wasmtime_val *values, size_t count) {
  for (size_t i = 0; i < count; i++) wt.wasmtime_val_unroot(&values[i]);
}

/* ---- functions ---- */

int wt_call_checked(wrt_store *store, const wrt_extern *function, const uint8_t *types, size_t param_count,
                    size_t result_count, wrt_slot *slots, wrt_failure *failure) {
  wasmtime_val few[FEW_VALUES] = {{0}}, *values = few;
  size_t count = param_count + result_count;
  if (count > FEW_VALUES && (values = calloc(count, sizeof *values)) == NULL) return wt_fail_memory(failure);
  wasmtime_val *results = values + param_count;
  for (size_t i = 0; i < param_count; i++) wt_val_from_slot(store, (wrt_type)types[i], &slots[2 * i], &values[i]);
  wasm_trap_t *trap = NULL;
  wasmtime_error_t *error = wt.wasmtime_func_call(store->context, &unwrap(function)->of.func, values, param_count, results,
                                                  result_count, &trap);
  unroot_all(values, param_count);
  int result = WRT_OK;
  if (error != NULL || trap != NULL) {
    result = wt_fail_guest(store, failure, WRT_INVALID, error, trap);
    if (result == WRT_INVALID && failure->message != NULL && strstr(failure->message, "error while executing") != NULL)
      result = WRT_ERROR; /* the wrong value is a host function's result */
  } else {
    for (size_t i = 0; i < result_count; i++) wt_val_to_slot(store, &results[i], &slots[2 * i]);
    unroot_all(results, result_count); /* nothing is made in the store before the host has read the slots */
  }
  if (values != few) free(values);
  return result;
}

/* The type of a function that a module imports, borrowed from `imports`; NULL where the import is something else. */
static const wasm_functype_t *import_functype(wrt_module *module, size_t index, wasm_importtype_vec *imports) {
  wt.wasmtime_module_imports((const wasmtime_module_t *)module, imports);
  if (index >= imports->size) return NULL;
  return wt.wasm_externtype_as_functype_const(wt.wasm_importtype_type(imports->data[index]));
}

int wt_import_types(wrt_module *module, size_t index, uint8_t *types, size_t count, wrt_failure *failure) {
  wasm_importtype_vec imports;
  const wasm_functype_t *type = import_functype(module, index, &imports);
  wrt_extern_type read = {0};
  int result = type == NULL ? wt_fail(failure, WRT_ERROR, "the module imports no function there")
                            : wt_read_functype(type, WRT_FUNCTION, &read, failure);
  if (result == WRT_OK) memcpy(types, read.types, count);
  wt_type_clear(&read);
  wt.wasm_importtype_vec_delete(&imports);
  return result;
}

/* A host function that Wasmtime calls with its own values. Each wt_function_new_as makes one; Wasmtime frees it. */
typedef struct checked_record {
  host_record host;
  size_t param_count;
  size_t result_count;
  uint8_t types[]; /* params, then results */
} checked_record;

static wasm_trap_t *call_host(void *env, wasmtime_caller_t *caller, const wasmtime_val *args, size_t arg_count,
                              wasmtime_val *results, size_t result_count) {
  checked_record *record = env;
  wrt_store *store = record->host.store;
  size_t longer = arg_count > result_count ? arg_count : result_count;
  wrt_slot few[2 * FEW_VALUES], *slots = few;
  if (longer > FEW_VALUES && (slots = malloc(2 * longer * sizeof *slots)) == NULL)
    return wt.wasmtime_trap_new("out of memory", 13);
  for (size_t i = 0; i < arg_count; i++) wt_val_to_slot(store, &args[i], &slots[2 * i]);
  int result = record->host.function(record->host.env, (wrt_caller *)caller, slots);
  if (result == WRT_OK) {
    const uint8_t *types = record->types + record->param_count;
    for (size_t i = 0; i < result_count; i++)
      wt_val_from_slot(store, (wrt_type)types[i], &slots[2 * i], &results[i]); /* Wasmtime owns it from now on */
  }
  if (slots != few) free(slots);
  return result == WRT_OK ? NULL : wt_unwind(store, result);
}

int wt_function_new_as(wrt_store *store, wrt_module *module, size_t index, const uint8_t *types, size_t param_count,
                       size_t result_count, wrt_host_function function, void *env, wrt_extern *out, wrt_failure *failure) {
  size_t count = param_count + result_count;
  checked_record *record = malloc(sizeof *record + count);
  if (record == NULL) return wt_fail_memory(failure);
  *record = (checked_record){.host = {.store = store, .function = function, .env = env},
                             .param_count = param_count,
                             .result_count = result_count};
  memcpy(record->types, types, count);
  wasm_importtype_vec imports;
  const wasm_functype_t *type = import_functype(module, index, &imports);
  wasmtime_extern ext = {.kind = WASMTIME_EXTERN_FUNC};
  if (type != NULL) wt.wasmtime_func_new(store->context, type, call_host, record, free, &ext.of.func); /* takes the record */
  wt.wasm_importtype_vec_delete(&imports);
  if (type == NULL) {
    free(record);
    return wt_fail(failure, WRT_ERROR, "the module imports no function there");
  }
  return wt_give_extern(store, &ext, out) ? WRT_OK : wt_fail_memory(failure);
}

/* ---- objects ---- */

void wt_i31_to_slot(wrt_store *store, uint32_t value, wrt_slot *out) {
  wasmtime_anyref ref;
  wt.wasmtime_anyref_from_i31(store->context, value, &ref);
  out->u64 = wt.wasmtime_anyref_to_raw(store->context, &ref);
  wt.wasmtime_anyref_unroot(&ref);
}

/* The object as a struct or an array, rooted for the caller, who releases it by drop_object. For anything else nothing is
 * rooted, and WRT_OBJECT_OTHER is returned. */
static wrt_object as_object(wrt_store *store, const wasmtime_anyref *ref, wasmtime_anyref *out) {
  if (wt.wasmtime_anyref_as_struct(store->context, ref, out)) return WRT_OBJECT_STRUCT;
  if (wt.wasmtime_anyref_as_array(store->context, ref, out)) return WRT_OBJECT_ARRAY;
  return WRT_OBJECT_OTHER;
}

static void drop_object(wrt_object kind, wasmtime_anyref *object) {
  if (kind == WRT_OBJECT_STRUCT) wt.wasmtime_structref_unroot(object);
  if (kind == WRT_OBJECT_ARRAY) wt.wasmtime_arrayref_unroot(object);
}

wrt_object wt_object_kind(wrt_store *store, const wrt_slot *slot, int32_t *value) {
  wasmtime_anyref ref, object;
  if (wt_ref_data(store, slot) != NULL) return WRT_OBJECT_HOST;
  wt.wasmtime_anyref_from_raw(store->context, slot->u32, &ref);
  wrt_object kind = WRT_OBJECT_I31;
  if (!wt.wasmtime_anyref_i31_get_s(store->context, &ref, value)) {
    kind = as_object(store, &ref, &object);
    drop_object(kind, &object);
  }
  wt.wasmtime_anyref_unroot(&ref);
  return kind;
}

int wt_object_root(wrt_store *store, uint8_t type, const wrt_slot *slot, wrt_ref *out, wrt_failure *failure) {
  wasmtime_anyref ref;
  (void)failure;
  if (type == WRT_EXNREF || type == WRT_REF_EXN)
    wt.wasmtime_exnref_from_raw(store->context, slot->u32, &ref);
  else
    wt.wasmtime_anyref_from_raw(store->context, slot->u32, &ref);
  memcpy(out, &ref, sizeof ref);
  return WRT_OK;
}

bool wt_object_is(wrt_store *store, const wrt_ref *one, const wrt_ref *other) {
  return wt.wasmtime_anyref_to_raw(store->context, (const wasmtime_anyref *)one) ==
         wt.wasmtime_anyref_to_raw(store->context, (const wasmtime_anyref *)other);
}

int wt_object_size(wrt_store *store, const wrt_ref *root, uint64_t *out, wrt_failure *failure) {
  wasmtime_anyref object;
  wasmtime_error_t *error = NULL;
  wrt_object kind = as_object(store, (const wasmtime_anyref *)root, &object);
  *out = 0;
  if (kind == WRT_OBJECT_STRUCT) {
    void *type = wt.wasmtime_structref_type(store->context, &object);
    *out = wt.wasmtime_struct_type_num_fields(type);
    wt.wasmtime_struct_type_delete(type);
  } else if (kind == WRT_OBJECT_ARRAY) {
    uint32_t length = 0;
    error = wt.wasmtime_arrayref_len(store->context, &object, &length);
    *out = length;
  }
  drop_object(kind, &object);
  if (error != NULL) return wt_fail_error(failure, WRT_ERROR, error);
  return kind == WRT_OBJECT_OTHER ? wt_fail(failure, WRT_ERROR, "this is neither a struct nor an array") : WRT_OK;
}

/* The type of a value, by its kind. */
static wrt_type type_of(const wasmtime_val *value) {
  if (value->kind == WASMTIME_ANYREF) return WRT_ANYREF;
  if (value->kind == WASMTIME_EXNREF) return WRT_EXNREF;
  return (wrt_type)value->kind; /* the numbers agree */
}

int wt_object_get(wrt_store *store, const wrt_ref *root, uint64_t index, wrt_type *type, wrt_slot *out,
                  wrt_failure *failure) {
  wasmtime_anyref object;
  wasmtime_val value;
  uint64_t size;
  int result = wt_object_size(store, root, &size, failure);
  if (result != WRT_OK) return result;
  if (index >= size) return wt_fail(failure, WRT_LIMIT, "beyond the end");
  wrt_object kind = as_object(store, (const wasmtime_anyref *)root, &object);
  wasmtime_error_t *error = kind == WRT_OBJECT_STRUCT
                                ? wt.wasmtime_structref_field(store->context, &object, (size_t)index, &value)
                                : wt.wasmtime_arrayref_get(store->context, &object, (uint32_t)index, &value);
  drop_object(kind, &object);
  if (error != NULL) return wt_fail_error(failure, WRT_ERROR, error);
  *type = type_of(&value);
  wt_val_to_slot(store, &value, out);
  wt.wasmtime_val_unroot(&value);
  return WRT_OK;
}
