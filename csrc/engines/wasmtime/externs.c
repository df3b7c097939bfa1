/* externs.c: functions, memories, globals and tables as the host makes, reads and sets them. */
#include "externs.h"

#include "exceptions.h"
#include "failures.h"
#include "functypes.h"

/* ---- types ---- */

/* The type of references of the proposals gc and exceptions that may be null. */
static wasm_valtype_t *new_reftype(wrt_engine *engine, uint8_t type) {
  static const uint8_t heaptypes[] = {WASMTIME_HEAPTYPE_ANY,    WASMTIME_HEAPTYPE_EQ,    WASMTIME_HEAPTYPE_I31,
                                      WASMTIME_HEAPTYPE_STRUCT, WASMTIME_HEAPTYPE_ARRAY, WASMTIME_HEAPTYPE_EXN};
  wasmtime_valtype valtype = {.kind = WASMTIME_VALTYPE_REF,
                              .reftype = {.nullable = true, .heaptype = {.kind = heaptypes[type - WRT_ANYREF]}}};
  return wt.wasmtime_valtype_to_wasm(engine->engine, &valtype);
}

static wasm_valtype_t *new_valtype(wrt_engine *engine, uint8_t type) {
  switch (type) {
    case WRT_V128: return wt.wasmtime_wasm_valtype_v128();
    case WRT_FUNCREF: return wt.wasm_valtype_new(WASM_VALKIND_FUNCREF);
    case WRT_EXTERNREF: return wt.wasm_valtype_new(WASM_VALKIND_EXTERNREF);
    case WRT_ANYREF:
    case WRT_EQREF:
    case WRT_I31REF:
    case WRT_STRUCTREF:
    case WRT_ARRAYREF:
    case WRT_EXNREF: return new_reftype(engine, type);
    default: return wt.wasm_valtype_new(type); /* the numbers agree for i32 i64 f32 f64 */
  }
}

/* The wrt_type of references: told by the heap type if they may be null, and otherwise by the top type of its hierarchy. */
static wrt_type read_reftype(const wasmtime_reftype *type) {
  bool nullable = type->nullable;
  switch (type->heaptype.kind) {
    case WASMTIME_HEAPTYPE_EXTERN: return nullable ? WRT_EXTERNREF : WRT_REF_EXTERN;
    case WASMTIME_HEAPTYPE_NOEXTERN: return WRT_REF_EXTERN;
    case WASMTIME_HEAPTYPE_FUNC: return nullable ? WRT_FUNCREF : WRT_REF_FUNC;
    case WASMTIME_HEAPTYPE_CONCRETE_FUNC:
    case WASMTIME_HEAPTYPE_NOFUNC: return WRT_REF_FUNC;
    case WASMTIME_HEAPTYPE_ANY: return nullable ? WRT_ANYREF : WRT_REF_ANY;
    case WASMTIME_HEAPTYPE_EQ: return nullable ? WRT_EQREF : WRT_REF_ANY;
    case WASMTIME_HEAPTYPE_I31: return nullable ? WRT_I31REF : WRT_REF_ANY;
    case WASMTIME_HEAPTYPE_STRUCT: return nullable ? WRT_STRUCTREF : WRT_REF_ANY;
    case WASMTIME_HEAPTYPE_ARRAY: return nullable ? WRT_ARRAYREF : WRT_REF_ANY;
    case WASMTIME_HEAPTYPE_NONE:
    case WASMTIME_HEAPTYPE_CONCRETE_ARRAY:
    case WASMTIME_HEAPTYPE_CONCRETE_STRUCT: return WRT_REF_ANY;
    case WASMTIME_HEAPTYPE_EXN: return nullable ? WRT_EXNREF : WRT_REF_EXN;
    case WASMTIME_HEAPTYPE_CONCRETE_EXN:
    case WASMTIME_HEAPTYPE_NOEXN: return WRT_REF_EXN;
    default: return WRT_REF;
  }
}

/* wasm_valtype_kind would abort the process on a vector or a typed reference; this query does not. */
static wrt_type read_valtype(const wasm_valtype_t *valtype) {
  wasmtime_valtype type;
  wt.wasmtime_valtype_new(valtype, &type);
  if (type.kind != WASMTIME_VALTYPE_REF) return (wrt_type)type.kind;
  wrt_type result = read_reftype(&type.reftype);
  wt.wasmtime_valtype_delete(&type);
  return result;
}

/* The params and results of a function's type, or of a tag's. */
int wt_read_functype(const wasm_functype_t *type, wrt_kind kind, wrt_extern_type *out, wrt_failure *failure) {
  const wasm_valtype_vec *params = wt.wasm_functype_params(type);
  const wasm_valtype_vec *results = wt.wasm_functype_results(type);
  uint8_t *types = malloc(params->size + results->size + 1);
  if (types == NULL) return wt_fail_memory(failure);
  *out = (wrt_extern_type){.kind = kind, .param_count = params->size, .result_count = results->size, .types = types};
  for (size_t i = 0; i < params->size; i++) *types++ = (uint8_t)read_valtype(params->data[i]);
  for (size_t i = 0; i < results->size; i++) *types++ = (uint8_t)read_valtype(results->data[i]);
  return WRT_OK;
}

static int function_type(wrt_store *store, const wasmtime_func *func, wrt_extern_type *out, wrt_failure *failure) {
  wasm_functype_t *type = wt.wasmtime_func_type(store->context, func);
  int result = wt_read_functype(type, WRT_FUNCTION, out, failure);
  wt.wasm_functype_delete(type);
  return result;
}

static int tag_type(wrt_store *store, const wasmtime_tag *tag, wrt_extern_type *out, wrt_failure *failure) {
  wasm_tagtype_t *type = wt.wasmtime_tag_type(store->context, tag);
  int result = wt_read_functype(wt.wasm_tagtype_functype(type), WRT_TAG, out, failure);
  wt.wasm_tagtype_delete(type);
  return result;
}

static void memory_type(wasm_memorytype_t *type, wrt_extern_type *out) {
  *out = (wrt_extern_type){
      .kind = WRT_MEMORY,
      .is_64 = wt.wasmtime_memorytype_is64(type),
      .shared = wt.wasmtime_memorytype_isshared(type),
      .minimum = wt.wasmtime_memorytype_minimum(type),
      .page_size = wt.wasmtime_memorytype_page_size(type),
  };
  out->has_maximum = wt.wasmtime_memorytype_maximum(type, &out->maximum);
  wt.wasm_memorytype_delete(type);
}

int wt_extern_type(wrt_store *store, const wrt_extern *item, wrt_extern_type *out, wrt_failure *failure) {
  const wasmtime_extern *ext = unwrap(item);
  switch (ext->kind) {
    case WASMTIME_EXTERN_FUNC: return function_type(store, &ext->of.func, out, failure);
    case WASMTIME_EXTERN_MEMORY: memory_type(wt.wasmtime_memory_type(store->context, &ext->of.memory), out); break;
    case WASMTIME_EXTERN_SHAREDMEMORY: memory_type(wt.wasmtime_sharedmemory_type(ext->of.sharedmemory), out); break;
    case WASMTIME_EXTERN_TABLE: {
      /* Wasmtime's C API aborts on the limits of a 64-bit table, so the current size stands in for them. */
      wasm_tabletype_t *type = wt.wasmtime_table_type(store->context, &ext->of.table);
      *out = (wrt_extern_type){.kind = WRT_TABLE,
                               .content = read_valtype(wt.wasm_tabletype_element(type)),
                               .minimum = wt.wasmtime_table_size(store->context, &ext->of.table)};
      wt.wasm_tabletype_delete(type);
      break;
    }
    case WASMTIME_EXTERN_GLOBAL: {
      wasm_globaltype_t *type = wt.wasmtime_global_type(store->context, &ext->of.global);
      *out = (wrt_extern_type){.kind = WRT_GLOBAL,
                               .content = read_valtype(wt.wasm_globaltype_content(type)),
                               .mutable_ = wt.wasm_globaltype_mutability(type) != 0};
      wt.wasm_globaltype_delete(type);
      break;
    }
    default: return tag_type(store, &ext->of.tag, out, failure);
  }
  return WRT_OK;
}

void wt_type_clear(wrt_extern_type *type) {
  free(type->types);
  type->types = NULL;
}

/* ---- handles ---- */

/* Lets the store own a shared memory, so that a handle to it can be a plain value. A memory that the store already has is
 * recognised by its address, which never changes; `ext` then refers to that one. Without room, releases the memory and returns
 * false. */
static bool keep_shared(wrt_store *store, wasmtime_extern *ext) {
  wasmtime_sharedmemory_t *memory = ext->of.sharedmemory;
  for (size_t i = 0; i < store->shared_count; i++) {
    if (wt.wasmtime_sharedmemory_data(store->shared[i]) == wt.wasmtime_sharedmemory_data(memory)) {
      wt.wasmtime_sharedmemory_delete(memory);
      ext->of.sharedmemory = store->shared[i];
      return true;
    }
  }
  wasmtime_sharedmemory_t **grown = realloc(store->shared, (store->shared_count + 1) * sizeof *grown);
  if (grown == NULL) {
    wt.wasmtime_sharedmemory_delete(memory);
    return false;
  }
  grown[store->shared_count++] = memory;
  store->shared = grown;
  return true;
}

/* Copies only the parts that matter, so that handles of the same extern are the same bytes. */
static void put_extern(const wasmtime_extern *ext, wrt_extern *out) {
  wasmtime_extern *put = memset(out, 0, sizeof *out);
  put->kind = ext->kind;
  switch (ext->kind) {
    case WASMTIME_EXTERN_FUNC: put->of.func = ext->of.func; break;
    case WASMTIME_EXTERN_SHAREDMEMORY: put->of.sharedmemory = ext->of.sharedmemory; break;
    case WASMTIME_EXTERN_GLOBAL:
      put->of.global.store_id = ext->of.global.store_id;
      put->of.global.private1 = ext->of.global.private1;
      put->of.global.private2 = ext->of.global.private2;
      put->of.global.private3 = ext->of.global.private3;
      break;
    default: /* tables; memories and tags have the same form */
      put->of.table.store_id = ext->of.table.store_id;
      put->of.table.private1 = ext->of.table.private1;
      put->of.table.private2 = ext->of.table.private2;
      break;
  }
}

bool wt_give_extern(wrt_store *store, wasmtime_extern *ext, wrt_extern *out) {
  if (ext->kind == WASMTIME_EXTERN_SHAREDMEMORY && !keep_shared(store, ext)) return false;
  put_extern(ext, out);
  return true;
}

/* ---- values ---- */

void wt_val_from_slot(wrt_store *store, wrt_type type, const wrt_slot *slot, wasmtime_val *out) {
  memset(out, 0, sizeof *out);
  switch (type) {
    case WRT_FUNCREF:
      out->kind = WASMTIME_FUNCREF;
      if (slot->u64 != 0) wt.wasmtime_func_from_raw(store->context, (void *)(uintptr_t)slot->u64, &out->of.funcref);
      break;
    case WRT_REF_FUNC: wt_val_from_slot(store, WRT_FUNCREF, slot, out); break;
    case WRT_ANYREF:
    case WRT_EQREF:
    case WRT_I31REF:
    case WRT_STRUCTREF:
    case WRT_ARRAYREF:
    case WRT_REF_ANY:
      out->kind = WASMTIME_ANYREF;
      wt.wasmtime_anyref_from_raw(store->context, slot->u32, &out->of.anyref);
      break;
    case WRT_EXNREF:
    case WRT_REF_EXN:
      out->kind = WASMTIME_EXNREF;
      wt.wasmtime_exnref_from_raw(store->context, slot->u32, &out->of.exnref);
      break;
    case WRT_EXTERNREF:
    case WRT_REF_EXTERN:
      out->kind = WASMTIME_EXTERNREF;
      wt.wasmtime_externref_from_raw(store->context, slot->u32, &out->of.externref);
      break;
    default:
      out->kind = (uint8_t)type; /* the numbers agree */
      memcpy(&out->of, slot, sizeof(wasmtime_val_raw));
      break;
  }
}

void wt_val_to_slot(wrt_store *store, const wasmtime_val *val, wrt_slot *out) {
  out[0].u64 = out[1].u64 = 0;
  switch (val->kind) {
    case WASMTIME_I32: out->i32 = val->of.i32; break;
    case WASMTIME_F32: out->f32 = val->of.f32; break;
    case WASMTIME_I64:
    case WASMTIME_F64: out->i64 = val->of.i64; break;
    case WASMTIME_V128: memcpy(out, val->of.v128, sizeof val->of.v128); break;
    case WASMTIME_FUNCREF:
      if (val->of.funcref.store_id != 0)
        out->u64 = (uintptr_t)wt.wasmtime_func_to_raw(store->context, &val->of.funcref);
      break;
    case WASMTIME_EXTERNREF:
      if (val->of.externref.store_id != 0)
        out->u64 = wt.wasmtime_externref_to_raw(store->context, &val->of.externref);
      break;
    case WASMTIME_ANYREF:
      if (val->of.anyref.store_id != 0) out->u64 = wt.wasmtime_anyref_to_raw(store->context, &val->of.anyref);
      break;
    case WASMTIME_EXNREF:
      if (val->of.exnref.store_id != 0) out->u64 = wt.wasmtime_exnref_to_raw(store->context, &val->of.exnref);
      break;
    default: break; /* a reference that does not cross: read as null */
  }
}

/* Puts an owned value into a slot and releases it; a reference stays alive through its holder in the guest. */
static void val_to_slot(wrt_store *store, wasmtime_val *val, wrt_slot *out) {
  wt_val_to_slot(store, val, out);
  wt.wasmtime_val_unroot(val);
}

void wt_function_to_slot(wrt_store *store, const wrt_extern *function, wrt_slot *out) {
  out->u64 = (uintptr_t)wt.wasmtime_func_to_raw(store->context, &unwrap(function)->of.func);
}

void wt_function_from_slot(wrt_store *store, const wrt_slot *slot, wrt_extern *out) {
  wasmtime_extern ext = {.kind = WASMTIME_EXTERN_FUNC};
  wt.wasmtime_func_from_raw(store->context, (void *)(uintptr_t)slot->u64, &ext.of.func);
  put_extern(&ext, out);
}

int wt_ref_new(wrt_store *store, void *data, void (*finalizer)(void *data), wrt_ref *out, wrt_failure *failure) {
  wasmtime_externref ref;
  if (!wt.wasmtime_externref_new(store->context, data, finalizer, &ref))
    return wt_fail(failure, WRT_ERROR, "the store has no room for another reference to a Python object");
  memcpy(out, &ref, sizeof ref);
  return WRT_OK;
}

void wt_ref_to_slot(wrt_store *store, const wrt_ref *ref, wrt_slot *out) {
  out->u64 = wt.wasmtime_externref_to_raw(store->context, (const wasmtime_externref *)ref);
}

void wt_ref_delete(wrt_ref *ref) { wt.wasmtime_externref_unroot((wasmtime_externref *)ref); }

void *wt_ref_data(wrt_store *store, const wrt_slot *slot) {
  wasmtime_externref ref;
  wt.wasmtime_externref_from_raw(store->context, slot->u32, &ref);
  void *data = wt.wasmtime_externref_data(store->context, &ref);
  wt.wasmtime_externref_unroot(&ref);
  return data;
}

/* ---- what the host makes ---- */

static wasm_trap_t *call_host(void *env, wasmtime_caller_t *caller, wasmtime_val_raw *slots, size_t count) {
  (void)count;
  host_record *record = env;
  int result = record->function(record->env, (wrt_caller *)caller, (wrt_slot *)slots);
  return result == WRT_OK ? NULL : wt_unwind(record->store, result);
}

wasm_functype_t *wt_new_functype(wrt_engine *engine, const uint8_t *types, size_t param_count, size_t result_count) {
  wasm_valtype_vec params, results;
  wt.wasm_valtype_vec_new_uninitialized(&params, param_count);
  wt.wasm_valtype_vec_new_uninitialized(&results, result_count);
  for (size_t i = 0; i < param_count; i++) params.data[i] = new_valtype(engine, types[i]);
  for (size_t i = 0; i < result_count; i++) results.data[i] = new_valtype(engine, types[param_count + i]);
  return wt.wasm_functype_new(&params, &results); /* takes both vectors */
}

int wt_function_new(wrt_store *store, const uint8_t *types, size_t param_count, size_t result_count,
                    wrt_host_function function, void *env, wrt_extern *out, wrt_failure *failure) {
  host_record *record = malloc(sizeof *record);
  if (record == NULL) return wt_fail_memory(failure);
  *record = (host_record){.store = store, .function = function, .env = env};
  wt_functype *type = wt_functype_take(store->engine, types, param_count, result_count);
  if (type == NULL) {
    free(record);
    return wt_fail_memory(failure);
  }
  wasmtime_extern ext = {.kind = WASMTIME_EXTERN_FUNC};
  wt.wasmtime_func_new_unchecked(store->context, type->native, call_host, record, free, &ext.of.func); /* takes the record */
  wt_functype_give(store->engine, type);
  put_extern(&ext, out);
  return WRT_OK;
}

int wt_memory_new(wrt_store *store, const wrt_extern_type *type, wrt_extern *out, wrt_failure *failure) {
  wasm_memorytype_t *memory_type;
  wasmtime_extern ext = {.kind = type->shared ? WASMTIME_EXTERN_SHAREDMEMORY : WASMTIME_EXTERN_MEMORY};
  wasmtime_error_t *error = wt.wasmtime_memorytype_new(type->minimum, type->has_maximum, type->maximum, type->is_64,
                                                       type->shared, 16, &memory_type);
  if (error != NULL) return wt_fail_error(failure, WRT_INVALID, error);
  error = type->shared ? wt.wasmtime_sharedmemory_new(store->engine->engine, memory_type, &ext.of.sharedmemory)
                       : wt.wasmtime_memory_new(store->context, memory_type, &ext.of.memory);
  wt.wasm_memorytype_delete(memory_type);
  if (error != NULL) return wt_fail_error(failure, WRT_LIMIT, error);
  return wt_give_extern(store, &ext, out) ? WRT_OK : wt_fail_memory(failure);
}

int wt_table_new(wrt_store *store, const wrt_extern_type *type, const wrt_slot *init, wrt_extern *out,
                 wrt_failure *failure) {
  wasm_limits limits = {.min = (uint32_t)type->minimum,
                        .max = type->has_maximum ? (uint32_t)type->maximum : (uint32_t)WASM_LIMITS_NO_MAX};
  wasm_tabletype_t *table_type = wt.wasm_tabletype_new(new_valtype(store->engine, (uint8_t)type->content), &limits);
  if (table_type == NULL) return wt_fail(failure, WRT_INVALID, "a table holds references");
  wasmtime_extern ext = {.kind = WASMTIME_EXTERN_TABLE};
  wasmtime_val value;
  wt_val_from_slot(store, type->content, init, &value);
  wasmtime_error_t *error = wt.wasmtime_table_new(store->context, table_type, &value, &ext.of.table);
  wt.wasmtime_val_unroot(&value);
  wt.wasm_tabletype_delete(table_type);
  if (error != NULL) return wt_fail_error(failure, WRT_LIMIT, error);
  put_extern(&ext, out);
  return WRT_OK;
}

int wt_global_new(wrt_store *store, const wrt_extern_type *type, const wrt_slot *slot, wrt_extern *out,
                  wrt_failure *failure) {
  wasm_globaltype_t *global_type =
      wt.wasm_globaltype_new(new_valtype(store->engine, (uint8_t)type->content), (uint8_t)type->mutable_);
  wasmtime_extern ext = {.kind = WASMTIME_EXTERN_GLOBAL};
  wasmtime_val value;
  wt_val_from_slot(store, type->content, slot, &value);
  wasmtime_error_t *error = wt.wasmtime_global_new(store->context, global_type, &value, &ext.of.global);
  wt.wasmtime_val_unroot(&value);
  wt.wasm_globaltype_delete(global_type);
  if (error != NULL) return wt_fail_error(failure, WRT_ERROR, error);
  put_extern(&ext, out);
  return WRT_OK;
}

/* ---- memories, globals, tables ---- */

uint8_t *wt_memory_data(wrt_store *store, const wrt_extern *memory, size_t *size) {
  const wasmtime_extern *ext = unwrap(memory);
  if (ext->kind == WASMTIME_EXTERN_MEMORY) {
    *size = wt.wasmtime_memory_data_size(store->context, &ext->of.memory);
    return wt.wasmtime_memory_data(store->context, &ext->of.memory);
  }
  *size = wt.wasmtime_sharedmemory_data_size(ext->of.sharedmemory);
  return wt.wasmtime_sharedmemory_data(ext->of.sharedmemory);
}

int wt_memory_grow(wrt_store *store, const wrt_extern *memory, uint64_t delta, uint64_t *previous,
                   wrt_failure *failure) {
  const wasmtime_extern *ext = unwrap(memory);
  wasmtime_error_t *error =
      ext->kind == WASMTIME_EXTERN_MEMORY
          ? wt.wasmtime_memory_grow(store->context, &ext->of.memory, delta, previous)
          : wt.wasmtime_sharedmemory_grow(ext->of.sharedmemory, delta, previous);
  return error == NULL ? WRT_OK : wt_fail_error(failure, WRT_LIMIT, error);
}

void wt_global_get(wrt_store *store, const wrt_extern *global, wrt_slot *out) {
  wasmtime_val value;
  wt.wasmtime_global_get(store->context, &unwrap(global)->of.global, &value);
  val_to_slot(store, &value, out);
}

/* The type of a global's value or a table's elements. */
static wrt_type content_type(wrt_store *store, const wrt_extern *item) {
  wrt_extern_type type;
  wrt_failure unused;
  return wt_extern_type(store, item, &type, &unused) == WRT_OK ? type.content : WRT_REF; /* neither can fail */
}

int wt_global_set(wrt_store *store, const wrt_extern *global, const wrt_slot *slot, wrt_failure *failure) {
  wasmtime_val value;
  wt_val_from_slot(store, content_type(store, global), slot, &value);
  wasmtime_error_t *error = wt.wasmtime_global_set(store->context, &unwrap(global)->of.global, &value);
  wt.wasmtime_val_unroot(&value);
  return error == NULL ? WRT_OK : wt_fail_value(failure, WRT_ERROR, error);
}

uint64_t wt_table_size(wrt_store *store, const wrt_extern *table) {
  return wt.wasmtime_table_size(store->context, &unwrap(table)->of.table);
}

bool wt_table_get(wrt_store *store, const wrt_extern *table, uint64_t index, wrt_slot *out) {
  wasmtime_val value;
  if (!wt.wasmtime_table_get(store->context, &unwrap(table)->of.table, index, &value)) return false;
  val_to_slot(store, &value, out);
  return true;
}

int wt_table_set(wrt_store *store, const wrt_extern *table, uint64_t index, const wrt_slot *slot,
                 wrt_failure *failure) {
  wasmtime_val value;
  wt_val_from_slot(store, content_type(store, table), slot, &value);
  wasmtime_error_t *error = wt.wasmtime_table_set(store->context, &unwrap(table)->of.table, index, &value);
  wt.wasmtime_val_unroot(&value);
  return error == NULL ? WRT_OK : wt_fail_value(failure, WRT_LIMIT, error);
}

int wt_table_grow(wrt_store *store, const wrt_extern *table, uint64_t delta, const wrt_slot *init,
                  uint64_t *previous, wrt_failure *failure) {
  wasmtime_val value;
  wt_val_from_slot(store, content_type(store, table), init, &value);
  wasmtime_error_t *error =
      wt.wasmtime_table_grow(store->context, &unwrap(table)->of.table, delta, &value, previous);
  wt.wasmtime_val_unroot(&value);
  return error == NULL ? WRT_OK : wt_fail_value(failure, WRT_LIMIT, error);
}
