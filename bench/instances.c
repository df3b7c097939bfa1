/* instances.c: what a store, one host function, an instance and their end cost on Wasmtime, driven from C alone.
 *
 * A shared library for bench/instances.py, so that its loops and those of Python take turns in one process. The declarations of
 * Wasmtime's functions are our own, and as loose as looking them up by name makes them. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

typedef struct bytes {
  size_t size;
  char *data;
} bytes;

typedef struct wasm_extern {
  uint8_t kind;
  union {
    struct {
      uint64_t store;
      void *private_;
    } function;
    uint64_t room[4];
  } of;
} wasm_extern;

typedef struct instance {
  uint64_t store;
  size_t private_;
} instance;

typedef struct engine {
  void *module;
  void *engine;
  void *type; /* of the host function */
} engine;

static void *library;
static engine engines[2]; /* on demand, pooled */

static void *(*store_new)(void *, void *, void *), *(*store_context)(void *);
static void (*set_epoch_deadline)(void *, uint64_t), (*store_delete)(void *);
static void (*function_new)(void *, void *, void *, void *, void *, void *);
static void *(*instance_new)(void *, void *, wasm_extern *, size_t, instance *, void **);

static void *increment(void *env, void *caller, int32_t *slots, size_t count) {
  (void)env;
  (void)caller;
  (void)count;
  slots[0]++;
  return NULL;
}

static const char guest[] =
    "(module (import \"env\" \"inc\" (func (param i32) (result i32))) (memory (export \"memory\") 1 2)"
    " (func (export \"add\") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))";

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

#define FIND(name) dlsym(library, name)

static const char *prepare(engine *self, bool pooled, uint32_t most) {
  void *config = ((void *(*)(void))FIND("wasm_config_new"))();
  ((void (*)(void *, bool))FIND("wasmtime_config_epoch_interruption_set"))(config, true);
  if (pooled) {
    void *pool = ((void *(*)(void))FIND("wasmtime_pooling_allocation_config_new"))();
#define SET(name, type, value) ((void (*)(void *, type))FIND("wasmtime_pooling_allocation_config_" name "_set"))(pool, value)
    SET("linear_memory_keep_resident", size_t, 65536);
    SET("total_memories", uint32_t, most);
    SET("total_core_instances", uint32_t, most);
    SET("max_memory_size", size_t, 1 << 24);
    ((void (*)(void *, void *))FIND("wasmtime_pooling_allocation_strategy_set"))(config, pool);
    ((void (*)(void *))FIND("wasmtime_pooling_allocation_config_delete"))(pool);
  }
  self->engine = ((void *(*)(void *))FIND("wasm_engine_new_with_config"))(config);
  bytes binary;
  if (((void *(*)(const char *, size_t, bytes *))FIND("wasmtime_wat2wasm"))(guest, sizeof guest - 1, &binary) != NULL)
    return "the guest does not parse";
  if (((void *(*)(void *, void *, size_t, void **))FIND("wasmtime_module_new"))(self->engine, binary.data, binary.size,
                                                                                &self->module) != NULL)
    return "the guest does not compile";
  bytes params, results;
  void *(*valtype_new)(uint8_t) = FIND("wasm_valtype_new");
  void (*vector)(bytes *, size_t, void **) = FIND("wasm_valtype_vec_new");
  vector(&params, 1, (void *[]){valtype_new(0)});
  vector(&results, 1, (void *[]){valtype_new(0)});
  self->type = ((void *(*)(void *, void *))FIND("wasm_functype_new"))(&params, &results);
  return NULL;
}

/* Opens Wasmtime's library at `path` and makes both engines, the pool with room for `most`; NULL, or what is wrong. */
const char *instances_open(const char *path, uint32_t most) {
  library = dlopen(path, RTLD_NOW);
  if (library == NULL) return dlerror();
  store_new = FIND("wasmtime_store_new");
  store_context = FIND("wasmtime_store_context");
  set_epoch_deadline = FIND("wasmtime_context_set_epoch_deadline");
  store_delete = FIND("wasmtime_store_delete");
  function_new = FIND("wasmtime_func_new_unchecked");
  instance_new = FIND("wasmtime_instance_new");
  const char *problem = prepare(&engines[0], false, most);
  return problem != NULL ? problem : prepare(&engines[1], true, most);
}

static void *make(const engine *self) {
  void *store = store_new(self->engine, NULL, NULL), *context = store_context(store), *trap = NULL;
  wasm_extern import = {0};
  instance made;
  set_epoch_deadline(context, 100);
  function_new(context, self->type, increment, NULL, NULL, &import.of.function);
  if (instance_new(context, self->module, &import, 1, &made, &trap) != NULL || trap != NULL) __builtin_trap();
  return store;
}

/* Makes and ends `count` instances; nanoseconds for each. */
double instances_run(int pooled, int count) {
  double begun = now();
  for (int i = 0; i < count; i++) store_delete(make(&engines[pooled]));
  return (now() - begun) / count;
}

/* Makes `count` instances and keeps them until instances_end. */
void instances_keep(int pooled, int count, void **stores) {
  for (int i = 0; i < count; i++) stores[i] = make(&engines[pooled]);
}

void instances_end(int count, void **stores) {
  for (int i = 0; i < count; i++) store_delete(stores[i]);
}

typedef struct work {
  int pooled;
  int count;
} work;

static void *run_work(void *given) {
  const work *self = given;
  instances_run(self->pooled, self->count);
  return NULL;
}

/* The same on two threads at a time, `count` on each; nanoseconds that pass for each instance. */
double instances_run_twice(int pooled, int count) {
  work both = {pooled, count};
  pthread_t other;
  double begun = now();
  if (pthread_create(&other, NULL, run_work, &both) != 0) return 0;
  run_work(&both);
  pthread_join(other, NULL);
  return (now() - begun) / (2.0 * count);
}
