/* run.h: how guests run: on which stack, how they poll, call the host and end. For this folder only. */
#ifndef WRT_WASM3_RUN_H
#define WRT_WASM3_RUN_H

#include "objects.h"

#pragma GCC visibility push(hidden)

static inline size_t ticks_of(const wrt_engine *engine) { return __atomic_load_n(&engine->ticks, __ATOMIC_RELAXED); }

static inline bool narrow(uint8_t type) { return type == WRT_I32 || type == WRT_F32; }

/* A failure in our own words, which are copied. Returns `result`. */
int w3_fail(wrt_failure *failure, int result, const char *message);

/* Why an extern of an instance that is gone refuses. */
extern const char w3_closed[];

/* The failure of an allocation. */
int w3_fail_memory(wrt_failure *failure);

/* What wasm3 cannot do: the feature's name in front, as wrt.h says. */
int w3_not_supported(wrt_failure *failure, const char *message);

/* The failure of a trap, with its text. */
int w3_fail_trap(wrt_failure *failure, wrt_trap trap);

/* Operations of the engine table. */
void w3_failure_clear(wrt_failure *failure);
void w3_bytes_clear(wrt_bytes *bytes);
void w3_type_clear(wrt_extern_type *type);
void w3_store_poll(wrt_store *store, int (*poll)(void *env), void *env);
void w3_engine_tick(wrt_engine *engine);
int w3_call(wrt_store *store, const wrt_extern *function, wrt_slot *slots, size_t slot_count, wrt_failure *failure);

/* The lowest address of this thread's stack that guests and the compiler may reach. */
uintptr_t w3_thread_floor(void);
/* The same for the compiler. */
uintptr_t w3_compiler_floor(void);

/* What stands for a function that is not the guest's own: a call of the host, or of another instance. */
wasm3_code w3_code_for(const wrt_extern *item);

#pragma GCC visibility pop

#endif
