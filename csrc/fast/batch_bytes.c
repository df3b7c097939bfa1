/* batch_bytes.c: a call for each row of some columns, some of which hold bytes, passed to the guest as pointer and size.
 *
 * A row's bytes are copied to one place in the guest's memory, which its allocator gave for the whole batch, or to a place of
 * their own for each row where the guest takes them over. The bytes that it returns are copied out into one buffer, and freed
 * by the guest. pywasmrt/runtimes/base/map_bytes.py has checked the arguments; the bounds of reads and writes are checked here.
 *
 * The loop runs without the GIL where the store has no host function. So an error in the loop is noted (Problem), and becomes
 * an exception afterwards.
 */
#include "batch.h"

/* How the guest gives bytes back, in the order of FORMS in map_bytes.py: not at all, in an i64 with the pointer above the size
 * or below it, as two results, or by writing both to where its first or last param points. */
typedef enum Form { NUMBERS, POINTER_HIGH, POINTER_LOW, PAIR, OUT_FIRST, OUT_LAST, FORMS } Form;

typedef enum Problem { NONE, ENGINE, UNFIT, OFFSETS, NO_ROOM, BAD_ROOM, BAD_RESULT, STATUS, TOO_MUCH, NO_MEMORY } Problem;

/* A call of the guest's allocator: its arguments, number by number. */
typedef struct GuestCall {
  Function *function; /* borrowed from the arguments; NULL for none */
  size_t count;
  int64_t args[4];
} GuestCall;
/* Placeholders among the args, replaced for each call. */
enum { GIVEN_SIZE = -1, GIVEN_POINTER = -2 };

/* A column of bytes: row n is data[offsets[n], offsets[n + 1]). */
typedef struct Texts {
  bool is; /* otherwise it is a column of numbers */
  bool wide, constant;
  Py_buffer data, offsets; /* owned */
} Texts;

enum { MOST_CALLS = 2, OUT_BYTES = 16, ALIGNED = 8, MOST_SLOTS = 64 };

typedef struct Rows {
  Function *function; /* borrowed from the caller, as is everything that is not marked as owned */
  Py_ssize_t rows;
  size_t given;  /* arguments: columns of bytes, each for two params, and of numbers */
  Texts *texts;  /* owned: one for each argument */
  Column *each;  /* owned: likewise, of those that hold numbers; then the results, where they are numbers */
  size_t numbers; /* how many results those are */
  Form form;
  wrt_extern memory;
  GuestCall allocate[MOST_CALLS], release;
  bool frees, gives;
  Py_ssize_t most;   /* bytes of all results */
  Py_buffer ends;    /* owned: int64, where each row's result begins, and where the last one ends */
  Column mask, nulls; /* owned */
  char *made;        /* owned: the results' bytes */
  size_t used, room;
  uint8_t *base;     /* the guest's memory, which never moves */
  size_t size;       /* of the memory, when it was last looked at */
  uint64_t arena, arena_size;
  wrt_slot *slots;   /* of a call; calls of an allocator have slots of their own */
  wrt_failure failure;
  Problem problem;
  int result;        /* the engine's result, where that is the problem */
  uint64_t at, much; /* what the problem is about */
  size_t column;
} Rows;

static void rows_clear(Rows *batch) {
  for (size_t i = 0; batch->texts != NULL && i < batch->given; i++) {
    PyBuffer_Release(&batch->texts[i].data);
    PyBuffer_Release(&batch->texts[i].offsets);
  }
  for (size_t i = 0; batch->each != NULL && i < batch->given + batch->numbers; i++) PyBuffer_Release(&batch->each[i].view);
  PyBuffer_Release(&batch->ends);
  PyBuffer_Release(&batch->mask.view);
  PyBuffer_Release(&batch->nulls.view);
  PyMem_Free(batch->texts);
  PyMem_Free(batch->each);
  PyMem_RawFree(batch->made);
}

static bool fails(Rows *batch, Problem problem, uint64_t at, uint64_t much) {
  batch->problem = problem;
  batch->at = at;
  batch->much = much;
  return false;
}

/* ---- the guest's memory ---- */

/* Whether the guest's memory holds all of it. It may have grown since it was looked at. */
static inline bool holds(Rows *batch, uint64_t at, uint64_t much) {
  if (LIKELY(at <= batch->size && much <= batch->size - at)) return true;
  Store *store = batch->function->store;
  batch->base = store->ops->memory_data(store->native, &batch->memory, &batch->size);
  return at <= batch->size && much <= batch->size - at;
}

static inline void put_number(const Function *function, size_t param, wrt_slot *slots, uint64_t value) {
  slots[param * function->step].u64 = function->types[param] == WRT_I32 ? (uint32_t)value : value;
}

static inline uint64_t get_pointer(const Function *function, size_t result, const wrt_slot *slots) {
  const wrt_slot *slot = &slots[result * function->step];
  return function->types[function->param_count + result] == WRT_I32 ? slot->u32 : slot->u64;
}

static inline bool engine_runs(Rows *batch, Function *function, wrt_slot *slots) {
  Store *store = function->store;
  batch->result = function->engine_call(store->native, &function->handle, slots, function->words, &batch->failure);
  return LIKELY(batch->result == WRT_OK) || fails(batch, ENGINE, 0, 0);
}

/* Calls the guest's allocator; `pointer` receives the result too. */
static bool call_guest(Rows *batch, const GuestCall *call, uint64_t size, uint64_t *pointer) {
  wrt_slot slots[MOST_SLOTS];
  Function *function = call->function;
  for (size_t i = 0; i < call->count; i++) {
    int64_t arg = call->args[i];
    put_number(function, i, slots, arg == GIVEN_SIZE ? size : arg == GIVEN_POINTER ? *pointer : (uint64_t)arg);
  }
  if (!engine_runs(batch, function, slots)) return false;
  if (function->result_count != 0) *pointer = get_pointer(function, 0, slots);
  return true;
}

static bool allocate(Rows *batch, uint64_t size, uint64_t *pointer) {
  if (size == 0) size = 1; /* an allocator may return 0 for an allocation of no bytes */
  if (size > UINT32_MAX && batch->allocate[0].function->types[0] == WRT_I32) return fails(batch, NO_ROOM, 0, size);
  for (size_t i = 0; i < MOST_CALLS && batch->allocate[i].function != NULL; i++) {
    if (!call_guest(batch, &batch->allocate[i], size, pointer)) return false;
    if (*pointer == 0) return fails(batch, NO_ROOM, 0, size);
  }
  return holds(batch, *pointer, size) || fails(batch, BAD_ROOM, *pointer, size);
}

static bool release(Rows *batch, uint64_t pointer, uint64_t size) {
  if (pointer == 0 || batch->release.function == NULL) return true;
  return call_guest(batch, &batch->release, size == 0 ? 1 : size, &pointer);
}

/* ---- what goes in ---- */

static inline uint64_t aligned(uint64_t size) { return (size + ALIGNED - 1) / ALIGNED * ALIGNED; }

/* A row's bytes; false where the offsets are not those of the data. */
static inline bool find_row(const Texts *texts, Py_ssize_t row, const char **from, uint64_t *size) {
  int64_t begin, end;
  Py_ssize_t at = texts->constant ? 0 : row;
  if (texts->wide) {
    const int64_t *offsets = texts->offsets.buf;
    begin = offsets[at], end = offsets[at + 1];
  } else {
    const int32_t *offsets = texts->offsets.buf;
    begin = offsets[at], end = offsets[at + 1];
  }
  if (UNLIKELY(begin < 0 || end < begin || end > texts->data.len)) return false;
  *from = (const char *)texts->data.buf + begin;
  *size = (uint64_t)(end - begin);
  return true;
}

/* Room for the row that needs most, and for what the guest writes its result to. */
static bool make_arena(Rows *batch, Py_ssize_t *bad_row) {
  uint64_t most = 0;
  for (Py_ssize_t row = 0; !batch->gives && row < batch->rows; row++) {
    uint64_t much = 0, size;
    const char *from;
    for (size_t i = 0; i < batch->given; i++) {
      if (!batch->texts[i].is) continue;
      if (!find_row(&batch->texts[i], row, &from, &size)) {
        batch->column = i;
        *bad_row = row;
        return fails(batch, OFFSETS, 0, 0);
      }
      much += aligned(size);
    }
    if (much > most) most = much;
  }
  batch->arena_size = most + OUT_BYTES;
  return allocate(batch, batch->arena_size, &batch->arena);
}

/* Puts the row's values into the slots and its bytes into the guest's memory. */
static bool put_row(Rows *batch, Py_ssize_t row) {
  Function *function = batch->function;
  size_t param = 0;
  uint64_t at = batch->arena;
  if (batch->form == OUT_FIRST) put_number(function, param++, batch->slots, at);
  if (batch->form == OUT_LAST) put_number(function, function->param_count - 1, batch->slots, at);
  at += OUT_BYTES;
  for (size_t i = 0; i < batch->given; i++) {
    if (!batch->texts[i].is) {
      if (UNLIKELY(!column_load(&batch->each[i], &batch->slots[param++ * function->step]))) {
        batch->column = i;
        return fails(batch, UNFIT, 0, 0);
      }
      continue;
    }
    const char *from;
    uint64_t size, pointer = at;
    if (UNLIKELY(!find_row(&batch->texts[i], row, &from, &size))) {
      batch->column = i;
      return fails(batch, OFFSETS, 0, 0);
    }
    if (batch->gives && !allocate(batch, size, &pointer)) return false;
    if (UNLIKELY(!batch->gives && pointer + size > batch->arena + batch->arena_size)) { /* it has grown meanwhile */
      batch->column = i;
      return fails(batch, OFFSETS, 0, 0);
    }
    memcpy(batch->base + pointer, from, size);
    at += aligned(size);
    put_number(function, param++, batch->slots, pointer);
    put_number(function, param++, batch->slots, size);
  }
  return true;
}

/* ---- what comes out ---- */

static bool make_room(Rows *batch, uint64_t size) {
  if (size > (uint64_t)batch->most - batch->used) return fails(batch, TOO_MUCH, 0, size);
  size_t room = batch->room * 2 > batch->used + size ? batch->room * 2 : batch->used + size;
  if (room > (size_t)batch->most) room = (size_t)batch->most; /* so that what goes beyond it comes here */
  char *made = PyMem_RawRealloc(batch->made, room);
  if (made == NULL) return fails(batch, NO_MEMORY, 0, 0);
  batch->made = made;
  batch->room = room;
  return true;
}

/* Where the guest's result is, by what it returned. */
static bool find_result(Rows *batch, uint64_t *pointer, uint64_t *size) {
  const Function *function = batch->function;
  uint64_t packed = batch->slots[0].u64;
  bool wide = function->types[batch->form == OUT_FIRST ? 0 : function->param_count - 1] == WRT_I64;
  switch (batch->form) {
    case POINTER_HIGH: *pointer = packed >> 32, *size = (uint32_t)packed; return true;
    case POINTER_LOW: *pointer = (uint32_t)packed, *size = packed >> 32; return true;
    case PAIR: *pointer = get_pointer(function, 0, batch->slots), *size = get_pointer(function, 1, batch->slots); return true;
    default: break;
  }
  if (function->result_count == 1 && batch->slots[0].u32 != 0) return fails(batch, STATUS, batch->slots[0].u32, 0);
  const uint8_t *out = batch->base + batch->arena;
  if (wide) {
    memcpy(pointer, out, 8);
    memcpy(size, out + 8, 8);
  } else {
    uint32_t both[2];
    memcpy(both, out, sizeof both);
    *pointer = both[0], *size = both[1];
  }
  return true;
}

static bool copy_result(Rows *batch, uint64_t pointer, uint64_t size) {
  if (size == 0) return true;
  if (UNLIKELY(!holds(batch, pointer, size))) return fails(batch, BAD_RESULT, pointer, size);
  if (UNLIKELY(size > batch->room - batch->used) && !make_room(batch, size)) return false;
  memcpy(batch->made + batch->used, batch->base + pointer, size);
  batch->used += size;
  return true;
}

static bool take_bytes(Rows *batch, Py_ssize_t row) {
  uint64_t pointer = 0, size = 0;
  if (!find_result(batch, &pointer, &size)) return false;
  if (batch->nulls.at != NULL) batch->nulls.at[row * batch->nulls.stride] = pointer == 0;
  bool copied = copy_result(batch, pointer, size);
  if (!copied && batch->problem == BAD_RESULT) return false; /* what is not there is not freed */
  bool ours = pointer >= batch->arena && pointer <= batch->arena + batch->arena_size; /* an empty part may begin at the end */
  if (!batch->frees || ours) return copied;
  Problem first = batch->problem;
  if (release(batch, pointer, size)) return copied;
  if (copied || batch->result == WRT_HOST) return false; /* what the host has raised comes first */
  batch->function->store->ops->failure_clear(&batch->failure);
  batch->problem = first;
  return false;
}

static void take_numbers(Rows *batch) {
  const wrt_slot *slot = batch->slots;
  Column *out = batch->each + batch->given;
  for (size_t k = 0; k < batch->numbers; k++, slot += batch->function->step) column_save(&out[k], slot);
}

/* ---- the loop ---- */

/* Whether the row alone failed and is noted as such; `used` is where the results stood before it. */
static bool masked(Rows *batch, Py_ssize_t row, size_t used) {
  int trap = batch->failure.trap;
  bool own = batch->problem == BAD_RESULT || batch->problem == STATUS || batch->problem == NO_ROOM ||
             batch->problem == BAD_ROOM ||
             (batch->problem == ENGINE && batch->result == WRT_TRAP && trap != WRT_TRAP_OUT_OF_FUEL &&
              trap != WRT_TRAP_INTERRUPT);
  if (batch->mask.at == NULL || !own) return false;
  if (batch->problem == ENGINE) batch->function->store->ops->failure_clear(&batch->failure);
  batch->problem = NONE;
  batch->used = used;
  batch->mask.at[row * batch->mask.stride] = 1;
  for (size_t k = 0; k < batch->numbers; k++) batch->slots[k * batch->function->step].u64 = 0;
  if (batch->nulls.at != NULL) batch->nulls.at[row * batch->nulls.stride] = 1;
  return true;
}

/* The number of rows done; where that is not all, `problem` says why. Runs inside the store, perhaps without the GIL. */
static Py_ssize_t run(Rows *batch, bool *closed) {
  Function *function = batch->function;
  Store *store = function->store;
  int64_t next = monotonic_ns() + POLL_NS, *ends = batch->ends.buf;
  const Py_ssize_t look = rows_to_look(store);
  Py_ssize_t row = 0;
  batch->base = store->ops->memory_data(store->native, &batch->memory, &batch->size);
  if (batch->rows != 0 && !make_arena(batch, &row)) return row;
  for (; row < batch->rows; row++) {
    size_t used = batch->used;
    if (UNLIKELY((row & look) == look) && (batch->result = batch_poll(store, &next)) != WRT_OK) {
      fails(batch, ENGINE, 0, 0);
      break;
    }
    if (ends != NULL) ends[row] = (int64_t)used;
    bool done = put_row(batch, row) && engine_runs(batch, function, batch->slots);
    if (UNLIKELY((*closed = ended(function)))) break;
    if (LIKELY(done) && batch->form != NUMBERS) done = take_bytes(batch, row);
    if (UNLIKELY(!done) && !masked(batch, row, used)) break;
    if (batch->form == NUMBERS) take_numbers(batch);
  }
  if (ends != NULL && row == batch->rows) ends[row] = (int64_t)batch->used;
  if (!*closed && batch->problem != ENGINE) {
    Problem first = batch->problem;
    bool freed = release(batch, batch->arena, batch->arena_size);
    if (!freed && first != NONE && batch->result != WRT_HOST) {
      store->ops->failure_clear(&batch->failure);
      batch->problem = first;
    }
  } else if (!*closed && batch->result == WRT_TRAP) { /* a guest that trapped in a row can be used again */
    wrt_failure failure = batch->failure;
    bool freed = release(batch, batch->arena, batch->arena_size);
    if (!freed && batch->result == WRT_HOST) { /* what the host has raised comes first */
      store->ops->failure_clear(&failure);
    } else {
      if (!freed) store->ops->failure_clear(&batch->failure);
      batch->failure = failure;
      batch->result = WRT_TRAP;
    }
  }
  return row;
}

/* Sets the exception of the problem, with the GIL, and whether it is the row's own; false where a value does not fit, an error
 * that Python words. */
static bool raise_problem(Rows *batch, bool *own) {
  State *state = batch->function->store->state;
  unsigned long long at = batch->at, much = batch->much;
  *own = true;
  switch (batch->problem) {
    case ENGINE:
      *own = batch->result == WRT_TRAP;
      raise_failure(batch->function->store, batch->result, &batch->failure);
      return true;
    case NO_ROOM:
      PyErr_Format(state->memory_access_error, "%U of the guest gave 0 for %llu bytes: it has no room for them",
                   batch->allocate[0].function->name, much);
      return true;
    case BAD_ROOM:
      PyErr_Format(state->memory_access_error, "%U of the guest gave what is not its memory: %llu bytes at %llu",
                   batch->allocate[0].function->name, much, at);
      return true;
    case BAD_RESULT:
      PyErr_Format(state->memory_access_error, "the guest gave what is not its memory: %llu bytes at %llu of %zu", much, at,
                   batch->size);
      return true;
    case STATUS:
      PyErr_Format(state->memory_access_error, "the guest returned the status %llu instead of a result", at);
      return true;
    case TOO_MUCH:
      *own = false;
      PyErr_Format(PyExc_ValueError, "the results are larger than max_bytes=%zd", batch->most);
      return true;
    case NO_MEMORY:
      *own = false;
      PyErr_NoMemory();
      return true;
    default: *own = false; return false;
  }
}

static PyObject *enter_and_run(Rows *batch, PyObject *progress) {
  Store *store = batch->function->store;
  bool closed = false, own = false;
  if (store_enter(store) < 0) return NULL;
  if (batch->rows >= ROWS_TO_RELEASE && (store->eager || !calls_back(store))) gil_release(store);
  Py_ssize_t row = run(batch, &closed);
  guest_end(store);
  bool unfit = false;
  if (closed && batch->problem != ENGINE)
    function_refuse_closed(batch->function);
  else if (batch->problem != NONE)
    unfit = !raise_problem(batch, &own);
  store_leave(store);
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  PyObject *number = own || unfit ? PyLong_FromSsize_t(row) : NULL;
  if ((own || unfit) && (number == NULL || PyList_SetItem(progress, 0, number) < 0)) PyErr_Clear();
  PyErr_Restore(type, value, traceback);
  if (PyErr_Occurred()) return NULL;
  if (unfit) return PyLong_FromSize_t(batch->column);
  if (batch->form == NUMBERS) Py_RETURN_NONE;
  return PyBytes_FromStringAndSize(batch->made, (Py_ssize_t)batch->used);
}

/* ---- the method ---- */

static int refuse(const char *what) {
  PyErr_SetString(PyExc_TypeError, what);
  return -1;
}

/* Takes over (function, numbers), where `numbers` may be left out; None for no function. */
static int fill_call(Rows *batch, GuestCall *call, PyObject *given, bool gives_pointer) {
  if (given == Py_None) return 0;
  PyObject *function, *numbers;
  State *state = batch->function->store->state;
  if (!PyArg_ParseTuple(given, "O!O!", state->function_type, &function, &PyTuple_Type, &numbers)) return -1;
  call->function = (Function *)function;
  call->count = (size_t)PyTuple_GET_SIZE(numbers);
  if (call->count > 4 || call->count != call->function->param_count || call->function->words > MOST_SLOTS ||
      call->function->store != batch->function->store || (gives_pointer && call->function->result_count != 1))
    return refuse("_map_bytes() takes allocators of the guest's own");
  for (size_t i = 0; i < call->count + call->function->result_count; i++)
    if (call->function->types[i] > WRT_I64) return refuse("_map_bytes() takes allocators of integers");
  for (size_t i = 0; i < call->count; i++) {
    call->args[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(numbers, (Py_ssize_t)i));
    if (call->args[i] == -1 && PyErr_Occurred()) return -1;
  }
  return 0;
}

static int fill_texts(Texts *texts, PyObject *given, Py_ssize_t rows) {
  PyObject *data, *offsets;
  int wide, constant;
  if (!PyArg_ParseTuple(given, "OOpp", &data, &offsets, &wide, &constant)) return -1;
  texts->is = true;
  texts->wide = wide != 0;
  texts->constant = constant != 0;
  if (PyObject_GetBuffer(data, &texts->data, PyBUF_SIMPLE) < 0) return -1;
  if (PyObject_GetBuffer(offsets, &texts->offsets, PyBUF_SIMPLE) < 0) return -1;
  Py_ssize_t size = wide ? 8 : 4;
  if (texts->offsets.len / size <= (constant ? 1 : rows) || (uintptr_t)texts->offsets.buf % (uintptr_t)size != 0) {
    PyErr_SetString(PyExc_ValueError, "a column of bytes has fewer offsets than it has rows");
    return -1;
  }
  return 0;
}

static bool is_pointer(const Function *function, size_t index, size_t count) {
  return index < count && function->types[index] <= WRT_I64;
}

/* Checks the arguments against the types of the params. */
static int fill_arguments(Rows *batch, PyObject *columns) {
  Function *function = batch->function;
  size_t param = batch->form == OUT_FIRST ? 1 : 0, count = function->param_count - (batch->form == OUT_LAST ? 1 : 0);
  if (batch->form >= OUT_FIRST && (function->param_count == 0 || function->result_count > 1 ||
                                   !is_pointer(function, batch->form == OUT_FIRST ? 0 : count, function->param_count)))
    return refuse("_map_bytes() takes a function with a param for the result");
  for (size_t i = 0; i < batch->given; i++) {
    PyObject *given = PyTuple_GET_ITEM(columns, (Py_ssize_t)i);
    if (PyTuple_GET_SIZE(given) == 4) {
      if (!is_pointer(function, param, count) || !is_pointer(function, param + 1, count))
        return refuse("_map_bytes() takes a function with a pointer and a size for each column of bytes");
      if (fill_texts(&batch->texts[i], given, batch->rows) < 0) return -1;
      param += 2;
    } else {
      if (param >= count) return refuse("_map_bytes() takes a column for each param");
      if (column_fill(&batch->each[i], given, function->types[param++], batch->rows, true) < 0) return -1;
    }
  }
  return param == count ? 0 : refuse("_map_bytes() takes columns for all params");
}

static int fill_results(Rows *batch, PyObject *outs, PyObject *ends) {
  Function *function = batch->function;
  const uint8_t *types = function->types + function->param_count;
  bool packed = batch->form == POINTER_HIGH || batch->form == POINTER_LOW;
  if ((packed && (function->result_count != 1 || types[0] != WRT_I64)) ||
      (batch->form == PAIR && (function->result_count != 2 || types[0] > WRT_I64 || types[1] > WRT_I64)) ||
      (batch->form >= OUT_FIRST && function->result_count == 1 && types[0] != WRT_I32) ||
      (batch->form == NUMBERS && batch->numbers != function->result_count))
    return refuse("_map_bytes() takes results of the form that the function has");
  for (size_t i = 0; i < batch->numbers; i++) {
    PyObject *given = PyTuple_GET_ITEM(outs, (Py_ssize_t)i);
    if (column_fill(&batch->each[batch->given + i], given, types[i], batch->rows, false) < 0) return -1;
  }
  if (batch->form == NUMBERS) return 0;
  if (PyObject_GetBuffer(ends, &batch->ends, PyBUF_WRITABLE) < 0) return -1;
  if (batch->ends.len / 8 <= batch->rows || (uintptr_t)batch->ends.buf % 8 != 0)
    return refuse("_map_bytes() takes room for an offset more than there are rows");
  return 0;
}

static int fill(Rows *batch, PyObject *columns, PyObject *outs, PyObject *ends, PyObject *mask, PyObject *nulls) {
  Function *function = batch->function;
  batch->given = (size_t)PyTuple_GET_SIZE(columns);
  batch->numbers = (size_t)PyTuple_GET_SIZE(outs);
  batch->texts = PyMem_Calloc(batch->given + 1, sizeof *batch->texts);
  batch->each = PyMem_Calloc(batch->given + batch->numbers + 1, sizeof *batch->each);
  if (batch->texts == NULL || batch->each == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  for (size_t i = 0; i < function->param_count + function->result_count; i++)
    if (function->types[i] > WRT_F64) return refuse("_map_bytes() takes a function of numbers");
  if (fill_arguments(batch, columns) < 0 || fill_results(batch, outs, ends) < 0) return -1;
  if (mask != Py_None && column_hold(&batch->mask, mask, BOOL, batch->rows, false, true) < 0) return -1;
  if (nulls != Py_None && column_hold(&batch->nulls, nulls, BOOL, batch->rows, false, true) < 0) return -1;
  return 0;
}

PyObject *function_map_bytes(PyObject *object, PyObject *args) {
  Function *self = (Function *)object;
  Rows batch = {.function = self};
  PyObject *columns, *outs, *ends, *mask, *nulls, *memory, *allocate, *pin, *release, *progress, *value = NULL;
  int form, frees, gives;
  if (!PyArg_ParseTuple(args, "nO!O!iOOOO!O!OOppnO!", &batch.rows, &PyTuple_Type, &columns, &PyTuple_Type, &outs, &form, &ends,
                        &mask, &nulls, &PyBytes_Type, &memory, &PyTuple_Type, &allocate, &pin, &release, &frees, &gives,
                        &batch.most, &PyList_Type, &progress))
    return NULL;
  if (self->closed) {
    function_refuse_closed(self);
    return NULL;
  }
  if (self->store->asynchronous) return PyObject_CallOneArg(self->store->state->raise_asynchronous, self->name);
  if (batch.rows < 0 || batch.most < 0 || form < 0 || form >= FORMS || PyList_GET_SIZE(progress) != 1) {
    refuse("_map_bytes() takes a number of rows, a form, a bound, and a list of one item");
    return NULL;
  }
  batch.form = (Form)form;
  batch.frees = frees != 0;
  batch.gives = gives != 0;
  wrt_slot few[STACK_WORDS], *slots = few;
  if (!read_handle(memory, &batch.memory, sizeof batch.memory) || fill(&batch, columns, outs, ends, mask, nulls) < 0 ||
      fill_call(&batch, &batch.allocate[0], allocate, true) < 0 || fill_call(&batch, &batch.allocate[1], pin, true) < 0 ||
      fill_call(&batch, &batch.release, release, false) < 0)
    goto done;
  memset(few, 0, sizeof few);
  if (self->words > STACK_WORDS && (slots = PyMem_Calloc(self->words, sizeof *slots)) == NULL) {
    PyErr_NoMemory();
    goto done;
  }
  batch.slots = slots;
  value = enter_and_run(&batch, progress);
done:
  if (slots != few) PyMem_Free(slots);
  rows_clear(&batch);
  return value;
}
