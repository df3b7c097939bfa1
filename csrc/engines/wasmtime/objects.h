/* objects.h: Wasmtime's functions, and our objects around its own. For this folder only. */
#ifndef WRT_WASMTIME_OBJECTS_H
#define WRT_WASMTIME_OBJECTS_H

#include <stdlib.h>
#include <string.h>

#include "wrt.h"
#include "api.h"

_Static_assert(sizeof(wasmtime_extern) <= sizeof(wrt_extern), "an extern fits its opaque form");
_Static_assert(sizeof(wasmtime_instance) <= sizeof(wrt_instance), "an instance fits its opaque form");
_Static_assert(sizeof(wasmtime_externref) <= sizeof(wrt_ref), "a reference fits its opaque form");
_Static_assert(sizeof(wasmtime_val_raw) == 2 * sizeof(wrt_slot), "a value is two slots");

#pragma GCC visibility push(hidden) /* so that the table is reached without indirection */

/* ---- Wasmtime's functions, looked up once by wrt_wasmtime_load ---- */

#define DECLARE(result, name, parameters) result(*name) parameters;
#define DECLARE_SETTING(type, name) void (*name)(wasm_config_t *, type);
#define DECLARE_POOL_SETTING(type, name) void (*name)(wasmtime_pool_config_t *, type);
extern struct wt_functions {
  void *library; /* the handle of dlopen; never closed */
  WASMTIME_API(DECLARE)
  struct {
    WASMTIME_SETTINGS(DECLARE_SETTING)
  } set;
  struct {
    WASMTIME_POOL_SETTINGS(DECLARE_POOL_SETTING)
  } pool;
} wt;

/* ---- our objects ---- */

enum { WT_FUNCTYPES = 32 };

/* A type of functions that the engine keeps (functypes.h). */
typedef struct wt_functype {
  wasm_functype_t *native; /* owned */
  size_t place;            /* in the engine's table */
  size_t param_count;
  size_t result_count;
  uint8_t types[];
} wt_functype;

struct wrt_engine {
  wasm_engine_t *engine;
  size_t holders;                       /* how many hold it: the caller of engine_new, and every store; atomic */
  wt_functype *functypes[WT_FUNCTYPES]; /* owned; atomic */
};

/* A module is Wasmtime's own: wrt_module is never defined, only cast. */

/* Exceptions that the host throws or catches between two collections in the engine. */
enum { EXCEPTIONS_PER_COLLECTION = 1000 };

struct wrt_store {
  wasmtime_context_t *context;
  wasmtime_store_t *store;
  wrt_engine *engine;    /* held */
  bool host_failed;      /* the host has just unwound the guest */
  bool threw;            /* `taker` has found an exception */
  bool has_taker;        /* there is the next one */
  wasmtime_func taker;   /* takes an uncaught exception from Wasmtime's store */
  bool has_exception;    /* there is the next one */
  wasmtime_exnref exception; /* rooted: the one that was taken last, until the host has read it */
  wasm_trap_t *throwing; /* owned: makes Wasmtime throw an exception of the host's; NULL except just before that */
  unsigned exceptions;   /* how many the host has thrown or caught */
  int (*poll)(void *env);
  void *poll_env;
  wasmtime_linker_t *linker; /* owned: what asynchronous host functions are made with; NULL before the first */
  void *host;            /* what the host functions of components are called with */
  size_t shared_count;
  wasmtime_sharedmemory_t **shared; /* owned */
  void *const *envs;                /* borrowed: of the linked instance's host functions */
};

/* A linked module is Wasmtime's wasmtime_instance_pre_t: wrt_linked is never defined, only cast. */

/* What a host function needs; made for each wt_function_new, freed by Wasmtime with the store. */
typedef struct host_record {
  wrt_store *store;
  wrt_host_function function;
  void *env;
} host_record;

static inline wasmtime_extern *unwrap(const wrt_extern *item) { return (wasmtime_extern *)item; }

/* engine.c: moves Wasmtime's vector into `out` without a copy. */
int wt_give_bytes(wasm_byte_vec *vector, wrt_bytes *out, wrt_failure *failure);

#pragma GCC visibility pop

#endif
