/* otelwasm.h: what a guest of otelwasm needs to talk to its host, for every dialect of the ABI, in one header.
 *
 * A guest defines what it can do and includes this header once:
 *
 *     #define OTELWASM_SUPPORTS (OTELWASM_TRACES | OTELWASM_LOGS)
 *     #define OTELWASM_PROCESSOR            // or OTELWASM_EXPORTER, OTELWASM_RECEIVER
 *     #include "sdk/otelwasm.h"
 *
 *     uint32_t otelwasm_process(uint32_t signal, bytes payload) {
 *       otelwasm_set_result(signal, payload);
 *       return OTELWASM_OK;
 *     }
 *
 * An exporter defines `otelwasm_push(signal, payload)`, a receiver `otelwasm_receive(signal)`, which runs until
 * `otelwasm_shutdown_requested()`. `OTELWASM_ABI` chooses the dialect: 0 experimental (unless set), 1 version 1 as specified,
 * 2 version 1 as coded. A guest may define `OTELWASM_ON_START` and then `uint32_t otelwasm_on_start(void)`.
 *
 * Memory: `otelwasm_alloc` takes from an arena that is emptied at the beginning of each call; what must live longer comes
 * from `otelwasm_keep`. No libc is needed: build with -nostdlib.
 */
#ifndef OTELWASM_H
#define OTELWASM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef OTELWASM_ABI
#define OTELWASM_ABI 0
#endif

enum { OTELWASM_METRICS = 1, OTELWASM_LOGS = 2, OTELWASM_TRACES = 4 };
enum { OTELWASM_OK = 0, OTELWASM_ERROR = 1, OTELWASM_INVALID_ARGUMENT = 2 };
enum { OTELWASM_LOG_DEBUG, OTELWASM_LOG_INFO, OTELWASM_LOG_WARN, OTELWASM_LOG_ERROR };

/* A piece of memory. */
typedef struct bytes {
  const uint8_t *data;
  uint32_t size;
} bytes;

#define TEXT(literal) ((bytes){(const uint8_t *)(literal), sizeof(literal) - 1})
#define EXPORT(name) __attribute__((export_name(name), used))
#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

/* ---- what the compiler expects of a libc ---- */

typedef uint64_t __attribute__((aligned(1), may_alias)) unaligned_word;

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
  uint8_t *out = to;
  const uint8_t *in = from;
  for (; size >= 8; size -= 8, out += 8, in += 8) *(unaligned_word *)out = *(const unaligned_word *)in;
  for (; size != 0; size--) *out++ = *in++;
  return to;
}

void *memmove(void *to, const void *from, size_t size) {
  uint8_t *out = to;
  const uint8_t *in = from;
  if (out <= in || out >= in + size) {
    /* Forward, in steps that no later one overwrites. */
    for (; size != 0; size--) *out++ = *in++;
  } else {
    while (size-- != 0) out[size] = in[size];
  }
  return to;
}

void *memset(void *to, int value, size_t size) {
  uint8_t *out = to;
  while (size-- != 0) *out++ = (uint8_t)value;
  return to;
}

int memcmp(const void *left, const void *right, size_t size) {
  const uint8_t *a = left, *b = right;
  for (; size != 0; size--, a++, b++)
    if (*a != *b) return *a < *b ? -1 : 1;
  return 0;
}

static inline bool same(bytes a, bytes b) { return a.size == b.size && memcmp(a.data, b.data, a.size) == 0; }

/* ---- memory ---- */

extern uint8_t __heap_base;
static uintptr_t arena_begin, arena_at, arena_end;

/* Makes room for `size` bytes at arena_at; false where the memory cannot grow so far. */
static bool arena_reserve(uintptr_t size) {
  if (arena_begin == 0) {
    arena_begin = arena_at = ((uintptr_t)&__heap_base + 15) & ~(uintptr_t)15;
    arena_end = __builtin_wasm_memory_size(0) * 65536;
  }
  if (size <= arena_end - arena_at) return true;
  uintptr_t missing = size - (arena_end - arena_at);
  uintptr_t pages = missing / 65536 + 1, more = arena_end / 65536 / 2; /* growing is dear: at least by half */
  if (pages < more && __builtin_wasm_memory_grow(0, more) != (uintptr_t)-1) {
    arena_end += more * 65536;
    return true;
  }
  if (__builtin_wasm_memory_grow(0, pages) == (uintptr_t)-1) return false;
  arena_end += pages * 65536;
  return true;
}

/* Memory for this call, or NULL. Aligned to 16. */
static void *otelwasm_alloc(uint32_t size) {
  uintptr_t rounded = ((uintptr_t)size + 15) & ~(uintptr_t)15;
  if (rounded < size || !arena_reserve(rounded)) return NULL;
  void *found = (void *)arena_at;
  arena_at += rounded;
  return found;
}

/* Memory for good, or NULL: to be asked for only before anything of a call was allocated. */
static inline void *otelwasm_keep(uint32_t size) {
  void *found = otelwasm_alloc(size);
  arena_begin = arena_at;
  return found;
}

static void arena_empty(void) { arena_at = arena_begin; }

/* ---- the host ---- */

#if OTELWASM_ABI == 1
#define HOST "otelwasm"
#else
#define HOST "opentelemetry.io/wasm"
#endif

#if OTELWASM_ABI == 0
#define ABI_NAME(experimental, v1) experimental
#else
#define ABI_NAME(experimental, v1) v1
#endif

IMPORT(HOST, ABI_NAME("setResultTraces", "otelwasm_set_result_traces"))
void host_set_result_traces(const uint8_t *data, uint32_t size);
IMPORT(HOST, ABI_NAME("setResultMetrics", "otelwasm_set_result_metrics"))
void host_set_result_metrics(const uint8_t *data, uint32_t size);
IMPORT(HOST, ABI_NAME("setResultLogs", "otelwasm_set_result_logs"))
void host_set_result_logs(const uint8_t *data, uint32_t size);
IMPORT(HOST, ABI_NAME("getPluginConfig", "otelwasm_get_plugin_config"))
uint32_t host_get_plugin_config(uint8_t *buffer, uint32_t limit);
IMPORT(HOST, ABI_NAME("setResultStatusReason", "otelwasm_set_status_reason"))
void host_set_status_reason(const uint8_t *data, uint32_t size);
IMPORT(HOST, ABI_NAME("getShutdownRequested", "otelwasm_get_shutdown_requested"))
uint32_t host_get_shutdown_requested(void);
#if OTELWASM_ABI == 0
IMPORT(HOST, "currentTraces") uint32_t host_current_traces(uint8_t *buffer, uint32_t limit);
IMPORT(HOST, "currentMetrics") uint32_t host_current_metrics(uint8_t *buffer, uint32_t limit);
IMPORT(HOST, "currentLogs") uint32_t host_current_logs(uint8_t *buffer, uint32_t limit);
IMPORT(HOST, "logMessage") void host_log_message(int32_t level, const uint8_t *json, uint32_t size);
#else
IMPORT(HOST, "otelwasm_log") void host_log(int32_t level, const uint8_t *text, uint32_t size);
#endif

/* Fetches what a host function fills a buffer with. The host tells the true size, and writes only if it fits; the buffer
 * asked for first is as large as any before, so that one call is enough most of the time. */
static bool fetch(uint32_t (*fill)(uint8_t *, uint32_t), bytes *out) {
  static uint32_t room = 4096;
  uint8_t *buffer = otelwasm_alloc(room);
  if (buffer == NULL) return false;
  uint32_t size = fill(buffer, room);
  if (size > room) {
    if ((buffer = otelwasm_alloc(size)) == NULL || fill(buffer, size) != size) return false;
    room = size;
  }
  *out = (bytes){buffer, size};
  return true;
}

static inline bool otelwasm_config(bytes *json) { return fetch(host_get_plugin_config, json); }

static inline bool otelwasm_shutdown_requested(void) { return host_get_shutdown_requested() != 0; }

/* Gives the reason for the status that is about to be returned, and returns that status. */
static inline uint32_t otelwasm_fail(uint32_t status, bytes reason) {
  host_set_status_reason(reason.data, reason.size);
  return status;
}

static inline void otelwasm_set_result(uint32_t signal, bytes payload) {
  if (signal == OTELWASM_TRACES)
    host_set_result_traces(payload.data, payload.size);
  else if (signal == OTELWASM_METRICS)
    host_set_result_metrics(payload.data, payload.size);
  else
    host_set_result_logs(payload.data, payload.size);
}

/* Logs a plain message; it must hold nothing that JSON would escape. */
static inline void otelwasm_log(int32_t level, bytes text) {
#if OTELWASM_ABI == 0
  static const bytes before = {(const uint8_t *)"{\"message\":\"", 12}, after = {(const uint8_t *)"\"}", 2};
  uint32_t size = before.size + text.size + after.size;
  uint8_t *json = otelwasm_alloc(size);
  if (json == NULL) return;
  memcpy(json, before.data, before.size);
  memcpy(json + before.size, text.data, text.size);
  memcpy(json + before.size + text.size, after.data, after.size);
  host_log_message(level, json, size);
#else
  host_log(level + 1, text.data, text.size);
#endif
}

/* ---- what the host calls ---- */

#ifdef OTELWASM_PROCESSOR
uint32_t otelwasm_process(uint32_t signal, bytes payload);
#define OTELWASM_HANDLE otelwasm_process
#define HANDLER(signal) "process" signal
#endif
#ifdef OTELWASM_EXPORTER
uint32_t otelwasm_push(uint32_t signal, bytes payload);
#define OTELWASM_HANDLE otelwasm_push
#define HANDLER(signal) "push" signal
#endif
#ifdef OTELWASM_RECEIVER
void otelwasm_receive(uint32_t signal);
#endif
#ifdef OTELWASM_ON_START
uint32_t otelwasm_on_start(void);
#endif

EXPORT(ABI_NAME("getSupportedTelemetry", "otelwasm_get_supported_telemetry"))
uint32_t abi_supported(void) { return OTELWASM_SUPPORTS; }

#if OTELWASM_ABI == 0

#ifdef OTELWASM_ON_START
EXPORT("_initialize") void abi_initialize(void) {
  arena_empty();
  if (otelwasm_on_start() != OTELWASM_OK) __builtin_trap();
}
#endif

#ifdef OTELWASM_HANDLE
static uint32_t abi_pull(uint32_t signal, uint32_t (*fill)(uint8_t *, uint32_t)) {
  bytes payload;
  arena_empty();
  if (!fetch(fill, &payload)) return otelwasm_fail(OTELWASM_ERROR, TEXT("there is no memory for the payload"));
  return OTELWASM_HANDLE(signal, payload);
}
EXPORT(HANDLER("Traces")) uint32_t abi_traces(void) { return abi_pull(OTELWASM_TRACES, host_current_traces); }
EXPORT(HANDLER("Metrics")) uint32_t abi_metrics(void) { return abi_pull(OTELWASM_METRICS, host_current_metrics); }
EXPORT(HANDLER("Logs")) uint32_t abi_logs(void) { return abi_pull(OTELWASM_LOGS, host_current_logs); }
#endif

#else

EXPORT("otelwasm_abi_version_0_1_0") void abi_marker(void) {}

EXPORT("otelwasm_start") uint32_t abi_start(void) {
#ifdef OTELWASM_ON_START
  arena_empty();
  return otelwasm_on_start();
#else
  return OTELWASM_OK;
#endif
}

EXPORT("otelwasm_shutdown") uint32_t abi_shutdown(void) { return OTELWASM_OK; }

/* The first thing of a call: what the call before left is freed here. */
EXPORT("otelwasm_memory_allocate") void *abi_allocate(uint32_t size) {
  arena_empty();
  return otelwasm_alloc(size);
}

#ifdef OTELWASM_HANDLE
static uint32_t abi_push(uint32_t signal, const uint8_t *data, uint32_t size) {
  if (size == 0) arena_empty();
  return OTELWASM_HANDLE(signal, (bytes){data, size});
}
EXPORT("otelwasm_consume_traces") uint32_t abi_traces(const uint8_t *data, uint32_t size) {
  return abi_push(OTELWASM_TRACES, data, size);
}
EXPORT("otelwasm_consume_metrics") uint32_t abi_metrics(const uint8_t *data, uint32_t size) {
  return abi_push(OTELWASM_METRICS, data, size);
}
EXPORT("otelwasm_consume_logs") uint32_t abi_logs(const uint8_t *data, uint32_t size) {
  return abi_push(OTELWASM_LOGS, data, size);
}
#endif

#endif

#ifdef OTELWASM_RECEIVER
static void abi_receive(uint32_t signal) {
  arena_empty();
  otelwasm_receive(signal);
}
EXPORT(ABI_NAME("startTracesReceiver", "otelwasm_start_traces_receiver"))
void abi_start_traces(void) { abi_receive(OTELWASM_TRACES); }
EXPORT(ABI_NAME("startMetricsReceiver", "otelwasm_start_metrics_receiver"))
void abi_start_metrics(void) { abi_receive(OTELWASM_METRICS); }
EXPORT(ABI_NAME("startLogsReceiver", "otelwasm_start_logs_receiver"))
void abi_start_logs(void) { abi_receive(OTELWASM_LOGS); }
#endif

#endif
