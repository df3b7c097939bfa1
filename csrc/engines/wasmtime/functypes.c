/* functypes.c: types of functions in Wasmtime's form, kept by the engine.
 *
 * Each place of the engine's table holds one type, or NULL while somebody has it. Taking and giving back are one exchange each,
 * so that threads need no lock: a thread that finds a place empty, or a different type there, makes a new type, and one that
 * gives a type back to an occupied place frees the other type. */
#include "functypes.h"

#include "externs.h"

static size_t place_of(const uint8_t *types, size_t param_count, size_t result_count) {
  size_t hash = param_count * 31 + result_count;
  for (size_t i = 0; i < param_count + result_count; i++) hash = hash * 7 + types[i];
  return hash % WT_FUNCTYPES;
}

static void functype_free(wt_functype *type) {
  if (type == NULL) return;
  wt.wasm_functype_delete(type->native);
  free(type);
}

wt_functype *wt_functype_take(wrt_engine *engine, const uint8_t *types, size_t param_count, size_t result_count) {
  size_t size = param_count + result_count, place = place_of(types, param_count, result_count);
  wt_functype *type = __atomic_exchange_n(&engine->functypes[place], NULL, __ATOMIC_ACQ_REL);
  if (type != NULL && type->param_count == param_count && type->result_count == result_count &&
      memcmp(type->types, types, size) == 0)
    return type;
  functype_free(type);
  type = malloc(sizeof *type + size);
  if (type == NULL) return NULL;
  type->native = wt_new_functype(engine, types, param_count, result_count);
  type->place = place;
  type->param_count = param_count;
  type->result_count = result_count;
  memcpy(type->types, types, size);
  return type;
}

void wt_functype_give(wrt_engine *engine, wt_functype *type) {
  functype_free(__atomic_exchange_n(&engine->functypes[type->place], type, __ATOMIC_ACQ_REL));
}

void wt_functypes_clear(wrt_engine *engine) {
  for (size_t i = 0; i < WT_FUNCTYPES; i++) {
    functype_free(engine->functypes[i]);
    engine->functypes[i] = NULL;
  }
}
