/* component_arena.c: memory for the values of one call's arguments, and what they borrow from. */
#include "component.h"

typedef struct ArenaBlock {
  struct ArenaBlock *next;
} ArenaBlock;

enum { ARENA_BLOCK = 8000, SCRATCH_MOST = 1 << 20 };

void arena_open(Arena *arena, char *stack, size_t size) {
  *arena = (Arena){.at = stack, .end = stack + size};
}

void *arena_take(Lowering *lowering, size_t count, size_t size) {
  Arena *arena = lowering->arena;
  if (UNLIKELY(count > (SIZE_MAX >> 8) / size)) {
    PyErr_NoMemory();
    return NULL;
  }
  size_t bytes = (count * size + 7) & ~(size_t)7;
  if (LIKELY((size_t)(arena->end - arena->at) >= bytes)) {
    void *found = arena->at;
    arena->at += bytes;
    return found;
  }
  ComponentState *state = lowering->store->components;
  if (bytes >= ARENA_BLOCK && bytes <= SCRATCH_MOST && state != NULL && !state->scratch_taken) {
    if (state->scratch_size < bytes) { /* kept from call to call, as fresh memory of this size costs a fault for each page */
      char *larger = PyMem_RawRealloc(state->scratch, bytes);
      if (larger == NULL) {
        PyErr_NoMemory();
        return NULL;
      }
      state->scratch = larger;
      state->scratch_size = bytes;
    }
    state->scratch_taken = true;
    ArenaHeld *held = arena_take(lowering, 1, sizeof *held);
    if (held == NULL) {
      state->scratch_taken = false;
      return NULL;
    }
    *held = (ArenaHeld){.next = arena->held, .rep = 1}; /* neither object nor handle: for the scratch memory */
    arena->held = held;
    return state->scratch;
  }
  size_t block_bytes = sizeof(ArenaBlock) + (bytes > ARENA_BLOCK ? bytes : ARENA_BLOCK);
  ArenaBlock *block = PyMem_RawMalloc(block_bytes);
  if (block == NULL) {
    PyErr_NoMemory();
    return NULL;
  }
  block->next = arena->blocks;
  arena->blocks = block;
  char *start = (char *)(block + 1);
  if (bytes <= ARENA_BLOCK) { /* the rest of a large block is not worth keeping */
    arena->at = start + bytes;
    arena->end = (char *)block + block_bytes;
  }
  return start;
}

ArenaHeld *arena_hold(Lowering *lowering, PyObject *object) {
  ArenaHeld *held = arena_take(lowering, 1, sizeof *held);
  if (held == NULL) return NULL;
  *held = (ArenaHeld){.next = lowering->arena->held, .object = Py_NewRef(object)};
  lowering->arena->held = held;
  return held;
}

/* Ends the handle that was made for a call's argument, a resource of the host's. */
static void end_host_handle(Store *store, ArenaHeld *held, bool called) {
  const wrt_component_ops *ops = store->engine->component_ops;
  wrt_failure failure;
  uint32_t rep;
  bool owned;
  if (!held->owned || !called) { /* what was given away is the guest's; what was lent comes back */
    /* Asking for the number consumes the handle, which dropping would too, though not in every kind of store. */
    if (store->native != NULL && ops->resource_rep(store->native, held->handle, &rep, &owned, &failure) != WRT_OK)
      store->ops->failure_clear(&failure);
    host_resource_drop(NULL, store, held->rep);
  }
  ops->resource_delete(held->handle);
}

void arena_close(Arena *arena, Store *store, bool called) {
  for (ArenaHeld *held = arena->held; held != NULL; held = held->next) {
    if (held->handle != NULL) {
      end_host_handle(store, held, called);
    } else if (held->object == NULL) {
      store->components->scratch_taken = false;
    } else if (held->owned) {
      Resource *resource = (Resource *)held->object;
      resource->giving = false;
      if (called && resource->native != NULL) {
        store->engine->component_ops->resource_delete(resource->native);
        resource->native = NULL;
      }
    }
  }
  /* Last, as a destructor runs Python code, which may use the scratch memory. */
  for (ArenaHeld *held = arena->held; held != NULL; held = held->next) Py_XDECREF(held->object);
  while (arena->blocks != NULL) {
    ArenaBlock *next = arena->blocks->next;
    PyMem_RawFree(arena->blocks);
    arena->blocks = next;
  }
}
