/* batch.h: what batches of numbers (batch.c) and of bytes (batch_bytes.c) have in common: columns of numbers, and what a loop
 * over rows checks besides.
 */
#ifndef WRT_FAST_BATCH_H
#define WRT_FAST_BATCH_H

#include "fastcall.h" /* first: Python.h sets what the system headers offer */

#include <string.h>

/* With fewer rows, releasing the GIL costs more than it gains. */
enum { ROWS_TO_RELEASE = 64 };
/* The time between two polls. */
enum { POLL_NS = 5 * 1000 * 1000 };

/* The formats of a column, in the order of KINDS in batch.py. */
typedef enum Kind { S8, U8, S16, U16, S32, U32, S64, U64, BOOL, SINGLE, DOUBLE, KINDS } Kind;

typedef struct Column {
  char *at;           /* of the next row; borrowed from the view */
  Py_ssize_t stride;  /* 0 for a constant */
  Py_ssize_t size;    /* of a row's value */
  uint8_t plain;      /* 4 or 8: the value's bits are copied as they are; 0: it is converted */
  uint8_t kind;
  uint8_t type;
  Py_buffer view;     /* owned; view.obj is NULL before it is held */
} Column;

/* Takes over a column of numbers, (buffer, kind, constant), for a param or result of that number type. A column that is written
 * holds values of exactly that type. -1 with an exception set. */
int column_fill(Column *column, PyObject *given, uint8_t type, Py_ssize_t rows, bool input);
/* Holds a buffer of `rows` values, or of one that stands for every row. -1 with an exception set. */
int column_hold(Column *column, PyObject *object, Kind kind, Py_ssize_t rows, bool constant, bool writable);
/* Writes a value that is not just its bits; false if it does not fit. */
bool column_convert(const Column *column, wrt_slot *slot);
/* The rows between two looks at the clock, less one, so that it masks the number of a row. An engine polls by itself, but not
 * all do so in a function that neither loops nor calls. */
static inline Py_ssize_t rows_to_look(const Store *store) { return store->interruptible ? 4095 : 15; }
/* At `next`, and every POLL_NS after that, ends the loop or gives signal handlers their turn, as an engine's own poll does. */
int batch_poll(Store *store, int64_t *next);

/* The next row's value into its slot; false if it does not fit. */
static inline bool column_load(Column *column, wrt_slot *slot) {
  bool fits = true;
  if (LIKELY(column->plain == 4)) {
    uint32_t bits;
    memcpy(&bits, column->at, sizeof bits);
    slot->u64 = bits;
  } else if (column->plain == 8) {
    memcpy(&slot->u64, column->at, sizeof slot->u64);
  } else {
    fits = column_convert(column, slot);
  }
  if (LIKELY(fits)) column->at += column->stride;
  return fits;
}

static inline void column_save(Column *column, const wrt_slot *slot) {
  if (column->plain == 4)
    memcpy(column->at, &slot->u32, sizeof slot->u32);
  else
    memcpy(column->at, &slot->u64, sizeof slot->u64);
  column->at += column->stride;
}

/* Whether the guests of a store can call the host. */
static inline bool calls_back(const Store *store) {
  for (const HostBlock *block = store->blocks; block != NULL; block = block->next)
    if (block->linked->host_count != 0) return true;
  return false;
}

/* Closed in the middle, by a host function or by another thread. */
static inline bool ended(const Function *function) {
  return __atomic_load_n(&function->closed, __ATOMIC_RELAXED) || __atomic_load_n(&function->store->closed, __ATOMIC_RELAXED);
}

#endif
