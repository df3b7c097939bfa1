/* externs.c: functions, memories, globals and tables as the host makes, reads and sets them. */
#ifdef WRT_WASM3

#include "externs.h"

#include <stdlib.h>

#include "run.h"

/* ---- what the host makes ---- */

int w3_function_new(wrt_store *store, const uint8_t *types, size_t param_count, size_t result_count,
                    wrt_host_function function, void *env, wrt_extern *out, wrt_failure *failure) {
  host_record *record = malloc(sizeof *record + param_count + result_count);
  if (record == NULL) return w3_fail_memory(failure);
  *record = (host_record){.next = store->records, .function = function, .env = env, .store = store,
                          .param_count = param_count, .result_count = result_count};
  memcpy(record->types, types, param_count + result_count);
  store->records = record;
  *out = pack(HOST_FUNCTION, record, 0);
  return WRT_OK;
}

int w3_memory_new(wrt_store *store, const wrt_extern_type *type, wrt_extern *out, wrt_failure *failure) {
  (void)store, (void)type, (void)out;
  return w3_not_supported(failure, "host-memory: wasm3 cannot make memories outside of a module");
}

int w3_table_new(wrt_store *store, const wrt_extern_type *type, const wrt_slot *init, wrt_extern *out,
                 wrt_failure *failure) {
  (void)store, (void)type, (void)init, (void)out;
  return w3_not_supported(failure, "host-table: wasm3 cannot make tables outside of a module");
}

int w3_global_new(wrt_store *store, const wrt_extern_type *type, const wrt_slot *value, wrt_extern *out,
                  wrt_failure *failure) {
  if (type->content > WRT_F64) return w3_not_supported(failure, "host-global: wasm3 has globals of numbers only");
  host_global *global = malloc(sizeof *global);
  if (global == NULL) return w3_fail_memory(failure);
  *global = (host_global){.next = store->globals, .type = type->content, .mutable_ = type->mutable_, .value = *value};
  store->globals = global;
  *out = pack(HOST_GLOBAL, global, 0);
  return WRT_OK;
}

/* ---- functions in slots and tables ---- */

/* A slot holds a function as the address of an extern. */
static void lend(wrt_store *store, const wrt_extern *item, wrt_slot *out) {
  wrt_extern *place = &store->lent[store->lent_count++ % LENT_EXTERNS];
  *place = *item;
  out->u64 = (uintptr_t)place;
}

void w3_function_to_slot(wrt_store *store, const wrt_extern *function, wrt_slot *out) { lend(store, function, out); }

void w3_function_from_slot(wrt_store *store, const wrt_slot *slot, wrt_extern *out) {
  (void)store;
  *out = *(const wrt_extern *)(uintptr_t)slot->u64;
}

wrt_extern w3_function_extern(instance *self, IM3Function function) {
  const wasm3_guest *guest = &self->guest;
  uintptr_t at = (uintptr_t)function, first = (uintptr_t)guest->module->functions;
  if (at < first || at >= (uintptr_t)(guest->module->functions + guest->module->numFunctions))
    return ((thunk *)(at - offsetof(thunk, function)))->item;
  size_t index = (at - first) / sizeof *function;
  if (index < self->module->scan.function_imports && self->functions[index].opaque[0] == GUEST_FUNCTION)
    return self->functions[index];
  return pack(GUEST_FUNCTION, self, at);
}

/* The function type of a host function, as `self` knows it; NULL for lack of memory. */
static IM3FuncType host_type(instance *self, const host_record *record) {
  union {
    M3FuncType type;
    uint8_t room[sizeof(M3FuncType) + 2000 * sizeof *((M3FuncType *)NULL)->types];
  } like = {.type = {.numRets = (u16)record->result_count, .numArgs = (u16)record->param_count}};
  if (record->param_count + record->result_count > 1000) return NULL;
  for (size_t i = 0; i < record->result_count; i++)
    like.type.types[i] = (uint8_t)(record->types[record->param_count + i] + c_m3Type_i32);
  for (size_t i = 0; i < record->param_count; i++)
    like.type.types[record->result_count + i] = (uint8_t)(record->types[i] + c_m3Type_i32);
  return wasm3_own_type(&self->guest, &like.type);
}

/* What a table of `self` must hold so that the function in a slot can be called; false for lack of memory, or where the
 * function's instance is gone. */
static bool table_function(instance *self, const wrt_slot *slot, IM3Function *out) {
  *out = NULL;
  if (slot->u64 == 0) return true;
  wrt_extern item = *(const wrt_extern *)(uintptr_t)slot->u64;
  if (item.opaque[0] == GUEST_FUNCTION && owner_of(&item) == self) {
    *out = (IM3Function)(uintptr_t)item.opaque[2];
    return true;
  }
  for (thunk *each = self->thunks; each != NULL; each = each->next) {
    if (memcmp(&each->item, &item, sizeof item) == 0) {
      *out = &each->function;
      return true;
    }
  }
  instance *owner = function_owner(&item);
  thunk *made = owner != NULL && is_gone(owner) ? NULL : calloc(1, sizeof *made);
  if (made == NULL) return false;
  made->item = item;
  made->code = w3_code_for(&item);
  made->function.module = self->guest.module;
  made->function.compiled = (pc_t)&made->code;
  made->function.funcType =
      item.opaque[0] == HOST_FUNCTION
          ? host_type(self, (const host_record *)(uintptr_t)item.opaque[1])
          : wasm3_own_type(&self->guest, ((IM3Function)(uintptr_t)item.opaque[2])->funcType);
  if (made->function.funcType == NULL) {
    free(made);
    return false;
  }
  if (owner != NULL) owner->users++;
  made->next = self->thunks;
  self->thunks = made;
  *out = &made->function;
  return true;
}

/* ---- what externs are ---- */

static int function_type(const wrt_extern *item, wrt_extern_type *out, wrt_failure *failure) {
  size_t params, results;
  const host_record *record = NULL;
  const M3FuncType *type = NULL;
  if (item->opaque[0] == HOST_FUNCTION) {
    record = (const host_record *)(uintptr_t)item->opaque[1];
    params = record->param_count;
    results = record->result_count;
  } else {
    type = ((const M3Function *)(uintptr_t)item->opaque[2])->funcType;
    params = type->numArgs;
    results = type->numRets;
  }
  uint8_t *types = malloc(params + results + 1);
  if (types == NULL) return w3_fail_memory(failure);
  *out = (wrt_extern_type){.kind = WRT_FUNCTION, .param_count = params, .result_count = results, .types = types};
  if (record != NULL) {
    memcpy(types, record->types, params + results);
    return WRT_OK;
  }
  for (size_t i = 0; i < params; i++) *types++ = (uint8_t)wasm3_type(type->types[results + i]);
  for (size_t i = 0; i < results; i++) *types++ = (uint8_t)wasm3_type(type->types[i]);
  return WRT_OK;
}

int w3_extern_type(wrt_store *store, const wrt_extern *item, wrt_extern_type *out, wrt_failure *failure) {
  (void)store;
  instance *self = owner_of(item);
  if (item->opaque[0] != HOST_FUNCTION && item->opaque[0] != HOST_GLOBAL && is_gone(self))
    return w3_fail(failure, WRT_ERROR, w3_closed);
  switch (item->opaque[0]) {
    case GUEST_MEMORY: {
      const wasm3_limits *limits = &self->module->scan.memory;
      *out = (wrt_extern_type){.kind = WRT_MEMORY, .minimum = limits->minimum, .maximum = limits->maximum,
                               .has_maximum = limits->has_maximum, .page_size = WASM3_PAGE};
      return WRT_OK;
    }
    case GUEST_TABLE: {
      const wasm3_limits *limits = &self->module->scan.tables[item->opaque[2]];
      *out = (wrt_extern_type){.kind = WRT_TABLE, .content = WRT_FUNCREF, .minimum = limits->minimum,
                               .maximum = limits->maximum, .has_maximum = limits->has_maximum};
      return WRT_OK;
    }
    case GUEST_GLOBAL: {
      const M3Global *global = wasm3_global(&self->guest, (uint32_t)item->opaque[2]);
      *out = (wrt_extern_type){.kind = WRT_GLOBAL, .content = wasm3_type(global->type), .mutable_ = global->isMutable};
      return WRT_OK;
    }
    case HOST_GLOBAL: {
      const host_global *global = (const host_global *)(uintptr_t)item->opaque[1];
      *out = (wrt_extern_type){.kind = WRT_GLOBAL, .content = global->type, .mutable_ = global->mutable_};
      return WRT_OK;
    }
    default: return function_type(item, out, failure);
  }
}

/* ---- memories, globals, tables ---- */

uint8_t *w3_memory_data(wrt_store *store, const wrt_extern *memory, size_t *size) {
  static uint8_t nothing[1];
  (void)store;
  if (!is_gone(owner_of(memory))) return wasm3_memory_data(&owner_of(memory)->guest, size);
  *size = 0;
  return nothing;
}

int w3_memory_grow(wrt_store *store, const wrt_extern *memory, uint64_t delta, uint64_t *previous,
                   wrt_failure *failure) {
  (void)store;
  if (is_gone(owner_of(memory))) return w3_fail(failure, WRT_LIMIT, w3_closed);
  wasm3_guest *guest = &owner_of(memory)->guest;
  uint64_t before = wasm3_memory_pages(guest);
  if (!wasm3_memory_grow(guest, delta)) return w3_fail(failure, WRT_LIMIT, "the memory cannot grow that far");
  *previous = before;
  return WRT_OK;
}

void w3_global_get(wrt_store *store, const wrt_extern *global, wrt_slot *out) {
  (void)store;
  if (global->opaque[0] == HOST_GLOBAL)
    *out = ((const host_global *)(uintptr_t)global->opaque[1])->value;
  else if (is_gone(owner_of(global)))
    out->u64 = 0;
  else
    wasm3_global_get(wasm3_global(&owner_of(global)->guest, (uint32_t)global->opaque[2]), out);
}

int w3_global_set(wrt_store *store, const wrt_extern *global, const wrt_slot *value, wrt_failure *failure) {
  (void)store;
  if (global->opaque[0] == HOST_GLOBAL)
    ((host_global *)(uintptr_t)global->opaque[1])->value = *value;
  else if (is_gone(owner_of(global)))
    return w3_fail(failure, WRT_ERROR, w3_closed);
  else
    wasm3_global_set(wasm3_global(&owner_of(global)->guest, (uint32_t)global->opaque[2]), value);
  return WRT_OK;
}

static IM3Function *table_of(const wrt_extern *table, size_t *size) {
  *size = 0;
  if (is_gone(owner_of(table))) return NULL;
  return wasm3_table(&owner_of(table)->guest, (uint32_t)table->opaque[2], size);
}

uint64_t w3_table_size(wrt_store *store, const wrt_extern *table) {
  (void)store;
  size_t size;
  table_of(table, &size);
  return size;
}

bool w3_table_get(wrt_store *store, const wrt_extern *table, uint64_t index, wrt_slot *out) {
  size_t size;
  IM3Function *elements = table_of(table, &size);
  if (index >= size) return false;
  out->u64 = 0;
  if (elements[index] != NULL) {
    wrt_extern item = w3_function_extern(owner_of(table), elements[index]);
    lend(store, &item, out);
  }
  return true;
}

int w3_table_set(wrt_store *store, const wrt_extern *table, uint64_t index, const wrt_slot *value,
                 wrt_failure *failure) {
  (void)store;
  size_t size;
  IM3Function function, *elements = table_of(table, &size);
  if (index >= size) return w3_fail(failure, WRT_LIMIT, "the index is beyond the table");
  if (!table_function(owner_of(table), value, &function)) return w3_fail_memory(failure);
  elements[index] = function;
  return WRT_OK;
}

int w3_table_grow(wrt_store *store, const wrt_extern *table, uint64_t delta, const wrt_slot *init,
                  uint64_t *previous, wrt_failure *failure) {
  instance *self = owner_of(table);
  if (is_gone(self)) return w3_fail(failure, WRT_LIMIT, w3_closed);
  const wasm3_limits *limits = &self->module->scan.tables[table->opaque[2]];
  uint64_t most = limits->has_maximum && limits->maximum < WASM3_MOST_ELEMENTS ? limits->maximum : WASM3_MOST_ELEMENTS;
  if (most > store->table_limit) most = store->table_limit;
  size_t size;
  IM3Function function, *elements = table_of(table, &size);
  if (size > most || delta > most - size) return w3_fail(failure, WRT_LIMIT, "the table cannot grow that far");
  if (!table_function(self, init, &function)) return w3_fail_memory(failure);
  if (delta > 0) {
    size_t grown = size + (size_t)delta;
    elements = realloc(elements, grown * sizeof *elements); /* as wasm3 does */
    if (elements == NULL) return w3_fail(failure, WRT_LIMIT, "there is no memory for so large a table");
    for (size_t i = size; i < grown; i++) elements[i] = function;
    wasm3_table_put(&self->guest, (uint32_t)table->opaque[2], elements, grown);
  }
  *previous = size;
  return WRT_OK;
}

#endif
