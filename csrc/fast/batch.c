/* batch.c: a call for each row of some columns. pywasmrt/_shim/batch.py has checked the arguments and made the results'
 * columns; the bounds of reads and writes are checked here once more, against the buffers as they are held for the loop.
 *
 * The store is entered once, so a deadline, an interrupt and the ticker's polls count for the loop as for one long call. Where
 * no host function can be called back the GIL is released at once; elsewhere at the second poll, as in any call.
 */
#include "batch.h"
#include "values.h"

static const Py_ssize_t SIZES[KINDS] = {1, 1, 2, 2, 4, 4, 8, 8, 1, 4, 8};

/* A whole batch. The buffers of `each` are owned, and released by batch_clear. */
typedef struct Batch {
  Function *function; /* borrowed from the caller */
  Py_ssize_t rows;
  size_t count; /* of columns, params and then results */
  Column *each;
  Column mask;
  PyObject *progress; /* borrowed: a list whose first item becomes the number of the row that trapped */
} Batch;

static void batch_clear(Batch *batch) {
  for (size_t i = 0; batch->each != NULL && i < batch->count; i++) PyBuffer_Release(&batch->each[i].view);
  PyBuffer_Release(&batch->mask.view);
  PyMem_Free(batch->each);
}

/* ---- buffers ---- */

int column_hold(Column *column, PyObject *object, Kind kind, Py_ssize_t rows, bool constant, bool writable) {
  if (PyObject_GetBuffer(object, &column->view, writable ? PyBUF_STRIDES | PyBUF_WRITABLE : PyBUF_STRIDES) < 0) return -1;
  const Py_buffer *view = &column->view;
  column->at = view->buf;
  column->kind = (uint8_t)kind;
  column->size = SIZES[kind];
  if (view->ndim != 1 || view->itemsize != column->size || view->shape[0] != (constant ? 1 : rows)) {
    PyErr_SetString(PyExc_ValueError, "a column changed its shape while it was being read");
    return -1;
  }
  column->stride = constant ? 0 : view->strides[0];
  return 0;
}

int column_fill(Column *column, PyObject *given, uint8_t type, Py_ssize_t rows, bool input) {
  PyObject *object;
  int kind, constant;
  if (!PyArg_ParseTuple(given, "Oip", &object, &kind, &constant)) return -1;
  if (kind < 0 || kind >= KINDS || type > WRT_F64 || (type < WRT_F32 && kind >= SINGLE)) {
    PyErr_SetString(PyExc_TypeError, "a column of this kind is none of the param or result");
    return -1;
  }
  column->type = type;
  if (column_hold(column, object, (Kind)kind, rows, constant && input, !input) < 0) return -1;
  bool narrow = type == WRT_I32 || type == WRT_F32;
  bool real = type >= WRT_F32;
  if (column->size == (narrow ? 4 : 8) && real == (kind >= SINGLE)) column->plain = narrow ? 4 : 8;
  if (!input && column->plain == 0) {
    PyErr_SetString(PyExc_TypeError, "a result is written as it is");
    return -1;
  }
  return 0;
}

static void extent(const Column *column, Py_ssize_t rows, uintptr_t *low, uintptr_t *high) {
  uintptr_t first = (uintptr_t)column->at, last = first + (uintptr_t)((rows - 1) * column->stride);
  *low = first < last ? first : last;
  *high = (first < last ? last : first) + (uintptr_t)column->size;
}

/* Whether writing `out` could change a row of `other` that is still to come. An input that lies just where the result goes is
 * read first, row by row, and columns may alternate in memory, as the fields of a record do. */
static bool disturbs(const Column *out, const Column *other, Py_ssize_t rows, bool input) {
  uintptr_t low, high, other_low, other_high;
  extent(out, rows, &low, &high);
  extent(other, rows, &other_low, &other_high);
  if (rows == 0 || high <= other_low || other_high <= low) return false;
  if (out->stride != other->stride) return true;
  if (input && out->at == other->at && out->size == other->size) return false;
  uintptr_t step = (uintptr_t)(out->stride < 0 ? -out->stride : out->stride);
  uintptr_t apart = step == 0 ? 0 : ((uintptr_t)out->at - (uintptr_t)other->at) % step;
  if ((uintptr_t)out->at < (uintptr_t)other->at && step != 0)
    apart = (step - ((uintptr_t)other->at - (uintptr_t)out->at) % step) % step;
  return apart < (uintptr_t)other->size || step - apart < (uintptr_t)out->size;
}

static int check_overlap(Batch *batch) {
  size_t params = batch->function->param_count;
  for (size_t i = params; i < batch->count; i++) {
    Column *out = &batch->each[i];
    Py_ssize_t step = out->stride < 0 ? -out->stride : out->stride;
    bool bad = batch->rows > 1 && step < out->size;
    for (size_t k = 0; k < i && !bad; k++) bad = disturbs(out, &batch->each[k], batch->rows, k < params);
    if (bad) {
      PyErr_SetString(PyExc_ValueError, "out overlaps itself or another column; it may be one of the columns themselves, but "
                                        "not a shifted view of one");
      return -1;
    }
  }
  return 0;
}

/* ---- values ---- */

__attribute__((noinline)) bool column_convert(const Column *column, wrt_slot *slot) {
  int64_t whole = 0;
  double real = 0;
  bool huge = false; /* beyond int64_t */
  switch ((Kind)column->kind) {
    case S8: whole = *(const int8_t *)column->at; break;
    case U8: whole = *(const uint8_t *)column->at; break;
    case BOOL: whole = *(const uint8_t *)column->at != 0; break;
#define LOAD(c_type, into) \
  do { \
    c_type value; \
    memcpy(&value, column->at, sizeof value); \
    (into) = value; \
  } while (0)
    case S16: LOAD(int16_t, whole); break;
    case U16: LOAD(uint16_t, whole); break;
    case S32: LOAD(int32_t, whole); break;
    case U32: LOAD(uint32_t, whole); break;
    case S64: LOAD(int64_t, whole); break;
    case U64: {
      uint64_t value;
      memcpy(&value, column->at, sizeof value);
      huge = value > INT64_MAX;
      whole = (int64_t)value;
      real = (double)value;
      break;
    }
    case SINGLE: {
      float value;
      memcpy(&value, column->at, sizeof value);
      real = widen(value);
      break;
    }
    case DOUBLE: LOAD(double, real); break;
    case KINDS: return false;
#undef LOAD
  }
  if (column->kind < SINGLE && !huge) real = (double)whole;
  switch (column->type) {
    case WRT_I32:
      if (huge || whole < INT32_MIN || whole > UINT32_MAX) return false;
      slot->u64 = (uint32_t)whole;
      return true;
    case WRT_I64: slot->i64 = whole; return true;
    case WRT_F32:
      slot->u64 = 0;
      slot->f32 = narrow(real);
      return true;
    default: slot->f64 = real; return true;
  }
}

/* ---- the loop ---- */

/* Marks a row that trapped in the mask, if there is one and the next row may succeed. */
static bool masked(Batch *batch, int result, wrt_failure *failure) {
  if (batch->mask.at == NULL || result != WRT_TRAP || failure->trap == WRT_TRAP_OUT_OF_FUEL ||
      failure->trap == WRT_TRAP_INTERRUPT)
    return false;
  batch->function->store->ops->failure_clear(failure);
  return true;
}

/* Ends the loop at a failure of the engine, with the GIL: sets an exception, and notes the row if the guest trapped. */
static void fail_at(Batch *batch, Py_ssize_t row, int result, wrt_failure *failure) {
  bool trapped = result == WRT_TRAP;
  raise_failure(batch->function->store, result, failure);
  if (!trapped) return;
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  PyObject *number = PyLong_FromSsize_t(row);
  if (number == NULL || PyList_SetItem(batch->progress, 0, number) < 0) PyErr_Clear(); /* then the trap is raised as it is */
  PyErr_Restore(type, value, traceback);
}

int batch_poll(Store *store, int64_t *next) {
  int64_t now = monotonic_ns();
  if (now < *next) return WRT_OK;
  *next = now + POLL_NS;
  return poll_python(store);
}

/* The bits of a value in a packed column. */
static inline uint64_t packed_load(const char *base, Py_ssize_t row, Py_ssize_t size) {
  uint64_t bits = 0;
  if (size == 4) {
    uint32_t narrow_bits;
    memcpy(&narrow_bits, base + row * 4, 4);
    bits = narrow_bits;
  } else {
    memcpy(&bits, base + row * 8, 8);
  }
  return bits;
}

/* What the loop goes by beside the columns. */
typedef struct Loop {
  wrt_slot *slots;
  wrt_failure failure;
  int result;
  bool closed;
  size_t bad; /* the column with a value that does not fit, or SIZE_MAX */
} Loop;

/* Most params of the signatures that the loop is compiled for. */
enum { MOST_PACKED = 3 };

/* Calls for each row, and tells how many are done. It is inlined with the numbers of params and results of the usual
 * signatures, so that the compiler unrolls what is done for each of them. `packed` is 4 or 8 where every value has so many
 * bytes, goes as its bits, and lies right behind the one before; 0 elsewhere. */
static inline __attribute__((always_inline)) Py_ssize_t run_rows(Batch *batch, Loop *loop, const size_t params,
                                                                 const size_t results, const Py_ssize_t packed) {
  Function *function = batch->function;
  Store *store = function->store;
  const size_t step = function->step, words = function->words;
  Column *in = batch->each, *out = batch->each + params;
  const Py_ssize_t look = rows_to_look(store);
  wrt_store *const native = store->native; /* kept until the store is left */
  const wrt_extern handle = function->handle;
  int (*const engine_call)(wrt_store *, const wrt_extern *, wrt_slot *, size_t, wrt_failure *) = function->engine_call;
  wrt_slot *const slots = loop->slots;
  const bool *const function_closed = &function->closed, *const store_closed = &store->closed;
  int64_t next = monotonic_ns() + POLL_NS;
  char *base[MOST_PACKED + 1];
  for (size_t i = 0; packed && i < params + results; i++) base[i] = batch->each[i].at;
  const Py_ssize_t rows = batch->rows;
  Py_ssize_t row = 0;
  for (; row < rows; row++) {
    if (UNLIKELY((row & look) == look) && (loop->result = batch_poll(store, &next)) != WRT_OK) break;
    size_t i = 0;
    for (wrt_slot *slot = slots; i < params; i++, slot += step) {
      if (packed)
        slot->u64 = packed_load(base[i], row, packed);
      else if (UNLIKELY(!column_load(&in[i], slot)))
        break;
    }
    if (!packed && UNLIKELY(i < params)) {
      loop->bad = i;
      break;
    }
    int result = engine_call(native, &handle, slots, words, &loop->failure);
    if (UNLIKELY(result != WRT_OK)) {
      if (!masked(batch, result, &loop->failure)) {
        loop->result = result;
        break;
      }
      for (size_t k = 0; k < results; k++) slots[k * step].u64 = 0;
      batch->mask.at[row * batch->mask.stride] = 1;
    }
    if (UNLIKELY(__atomic_load_n(function_closed, __ATOMIC_RELAXED) || __atomic_load_n(store_closed, __ATOMIC_RELAXED))) {
      loop->closed = true;
      break;
    }
    const wrt_slot *slot = slots;
    for (size_t k = 0; k < results; k++, slot += step) {
      if (packed)
        memcpy(base[params + k] + row * packed, slot, (size_t)packed);
      else
        column_save(&out[k], slot);
    }
  }
  return row;
}

/* Words of the slots that the rows of one call_rows have at most, unless one row needs more. */
enum { ROWS_WORDS = 1024, MOST_ROWS = 256 };

/* How many rows go to the engine at a time: more than one where it takes them together, but never more than may pass between
 * two looks at the clock. */
static Py_ssize_t rows_at_once(const Function *function, Py_ssize_t rows) {
  const Store *store = function->store;
  if (store->ops->call_rows == NULL || rows < 2) return 1;
  Py_ssize_t most = function->words == 0 ? MOST_ROWS : ROWS_WORDS / (Py_ssize_t)function->words;
  if (most > MOST_ROWS) most = MOST_ROWS;
  if (most > rows_to_look(store) + 1) most = rows_to_look(store) + 1;
  if (most > rows) most = rows;
  return most < 1 ? 1 : most;
}

/* Fills the slots of so many rows; fewer where a value does not fit. */
static Py_ssize_t fill_rows(Batch *batch, Loop *loop, Py_ssize_t count) {
  const Function *function = batch->function;
  wrt_slot *slots = loop->slots;
  for (Py_ssize_t row = 0; row < count; row++, slots += function->words) {
    for (size_t i = 0; i < function->param_count; i++) {
      if (LIKELY(column_load(&batch->each[i], slots + i * function->step))) continue;
      loop->bad = i;
      return row;
    }
  }
  return count;
}

/* Writes the results of so many rows from their slots. */
static void save_rows(Batch *batch, const wrt_slot *slots, size_t count) {
  const Function *function = batch->function;
  Column *out = batch->each + function->param_count;
  for (; count-- > 0; slots += function->words)
    for (size_t k = 0; k < function->result_count; k++) column_save(&out[k], slots + k * function->step);
}

/* Calls for rows whose slots are filled, and tells how many are done. `first` is the number of the first of them. */
static Py_ssize_t call_filled(Batch *batch, Loop *loop, Py_ssize_t first, Py_ssize_t count) {
  Function *function = batch->function;
  Store *store = function->store;
  Py_ssize_t done = 0;
  while (done < count && !loop->closed) {
    wrt_slot *slots = loop->slots + (size_t)done * function->words;
    size_t more = 0;
    int result = store->ops->call_rows(store->native, &function->handle, slots, function->words, (size_t)(count - done),
                                       &function->closed, &more, &loop->failure);
    save_rows(batch, slots, more);
    done += (Py_ssize_t)more;
    if (result != WRT_OK) {
      if (!masked(batch, result, &loop->failure)) {
        loop->result = result;
        break;
      }
      slots += more * function->words;
      memset(slots, 0, function->words * sizeof *slots);
      save_rows(batch, slots, 1);
      batch->mask.at[(first + done++) * batch->mask.stride] = 1;
    }
    loop->closed = ended(function);
  }
  return done;
}

/* As run_rows, for an engine that takes `most` rows at a time. */
static Py_ssize_t run_together(Batch *batch, Loop *loop, Py_ssize_t most) {
  int64_t next = monotonic_ns() + POLL_NS;
  Py_ssize_t row = 0;
  while (row < batch->rows) {
    if (row > 0 && (loop->result = batch_poll(batch->function->store, &next)) != WRT_OK) break;
    Py_ssize_t count = batch->rows - row < most ? batch->rows - row : most;
    Py_ssize_t filled = fill_rows(batch, loop, count), done = call_filled(batch, loop, row, filled);
    row += done;
    if (done < filled) loop->bad = SIZE_MAX; /* a row before the one with the bad value has ended the loop */
    if (done < count || loop->closed) break;
  }
  return row;
}

/* 4 or 8 where run_rows may take the columns as packed; else 0. */
static Py_ssize_t packed_size(const Batch *batch) {
  const Py_ssize_t size = batch->count == 0 ? 0 : batch->each[0].plain;
  for (size_t i = 0; i < batch->count; i++)
    if (batch->each[i].plain != size || batch->each[i].stride != size) return 0;
  return size;
}

/* Calls for each row, inside the store. The number of rows done: fewer than there are where one does not fit (and `bad` is then
 * its column), or with an exception set. */
static Py_ssize_t run(Batch *batch, wrt_slot *slots, Py_ssize_t at_once, size_t *bad) {
  Function *function = batch->function;
  Store *store = function->store;
  const size_t params = function->param_count, results = function->result_count;
  Loop loop = {.slots = slots, .result = WRT_OK, .bad = SIZE_MAX};
  if (batch->rows >= ROWS_TO_RELEASE && (store->eager || !calls_back(store))) gil_release(store);
  Py_ssize_t row, packed = at_once == 1 && results == 1 && params <= MOST_PACKED ? packed_size(batch) : 0;
  switch (packed == 0 ? 0 : params * 8 + (size_t)packed / 4) {
    case 8 + 1: row = run_rows(batch, &loop, 1, 1, 4); break;
    case 8 + 2: row = run_rows(batch, &loop, 1, 1, 8); break;
    case 16 + 1: row = run_rows(batch, &loop, 2, 1, 4); break;
    case 16 + 2: row = run_rows(batch, &loop, 2, 1, 8); break;
    case 24 + 1: row = run_rows(batch, &loop, 3, 1, 4); break;
    case 24 + 2: row = run_rows(batch, &loop, 3, 1, 8); break;
    default: row = at_once > 1 ? run_together(batch, &loop, at_once) : run_rows(batch, &loop, params, results, 0);
  }
  guest_end(store);
  *bad = loop.bad;
  if (loop.result != WRT_OK)
    fail_at(batch, row, loop.result, &loop.failure);
  else if (loop.closed)
    function_refuse_closed(function);
  return row;
}

static PyObject *enter_and_run(Batch *batch, wrt_slot *slots, Py_ssize_t at_once) {
  Store *store = batch->function->store;
  size_t bad = SIZE_MAX;
  if (store_enter(store) < 0) return NULL;
  Py_ssize_t done = run(batch, slots, at_once, &bad);
  store_leave(store);
  if (PyErr_Occurred()) return NULL;
  if (bad != SIZE_MAX) return Py_BuildValue("nn", done, (Py_ssize_t)bad);
  Py_RETURN_NONE;
}

/* ---- the method ---- */

/* Takes the columns over into the batch; -1 with an exception set. */
static int batch_fill(Batch *batch, PyObject *columns, PyObject *outs) {
  Function *function = batch->function;
  if ((size_t)PyTuple_GET_SIZE(columns) != function->param_count ||
      (size_t)PyTuple_GET_SIZE(outs) != function->result_count) {
    PyErr_SetString(PyExc_TypeError, "_map() takes a column for each param and result");
    return -1;
  }
  batch->each = PyMem_Calloc(batch->count + 1, sizeof *batch->each);
  if (batch->each == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  for (size_t i = 0; i < batch->count; i++) {
    bool input = i < function->param_count;
    PyObject *from = input ? columns : outs;
    PyObject *given = PyTuple_GET_ITEM(from, (Py_ssize_t)(input ? i : i - function->param_count));
    if (column_fill(&batch->each[i], given, function->types[i], batch->rows, input) < 0) return -1;
  }
  return check_overlap(batch);
}

PyObject *function_map(PyObject *object, PyObject *args) {
  Function *self = (Function *)object;
  PyObject *columns, *outs, *mask;
  Batch batch = {.function = self, .count = self->param_count + self->result_count};
  if (!PyArg_ParseTuple(args, "O!O!nOO!", &PyTuple_Type, &columns, &PyTuple_Type, &outs, &batch.rows, &mask, &PyList_Type,
                        &batch.progress))
    return NULL;
  if (self->closed) {
    function_refuse_closed(self);
    return NULL;
  }
  if (self->store->asynchronous) return PyObject_CallOneArg(self->store->state->raise_asynchronous, self->name);
  if (batch.rows < 0 || PyList_GET_SIZE(batch.progress) != 1) {
    PyErr_SetString(PyExc_ValueError, "_map() takes a number of rows, and a list of one item");
    return NULL;
  }
  PyObject *value = NULL;
  wrt_slot few[STACK_WORDS], *slots = few;
  if (batch_fill(&batch, columns, outs) < 0 ||
      (mask != Py_None && column_hold(&batch.mask, mask, BOOL, batch.rows, false, true) < 0))
    goto done;
  memset(few, 0, sizeof few);
  const Py_ssize_t at_once = rows_at_once(self, batch.rows);
  const size_t words = self->words * (size_t)at_once;
  if (words > STACK_WORDS && (slots = PyMem_Calloc(words, sizeof *slots)) == NULL) {
    PyErr_NoMemory();
    goto done;
  }
  value = enter_and_run(&batch, slots, at_once);
done:
  if (slots != few) PyMem_Free(slots);
  batch_clear(&batch);
  return value;
}
