/* memory.c: a linear memory as a Python object: read, write, grow and the buffer protocol.
 *
 * The engine promises that a memory's address does not change while its store exists, and a store is not freed under an
 * exported buffer; so a view never dangles, though it does not see pages that were added after it was taken.
 */
#include "values.h"

typedef struct Memory {
  PyObject_HEAD
  Store *store; /* owned */
  wrt_extern handle;
  bool closed; /* the instance was closed, in a store that goes on */
  PyObject *weakrefs;
} Memory;

/* Whether this thread may look at the memory now: 0, or -1 with an exception set. */
static inline int memory_check(Memory *self) {
  if (LIKELY(!self->closed)) return store_check(self->store);
  PyErr_SetString(self->store->state->closed_error, "the instance that this memory belongs to was closed");
  return -1;
}

static inline uint8_t *memory_data(Memory *self, size_t *size) {
  return self->store->ops->memory_data(self->store->native, &self->handle, size);
}

static PyObject *shown_int(Memory *self, PyObject *number) {
  return PyObject_CallOneArg(self->store->state->shown_int, number);
}

static inline bool read_size(Memory *self, PyObject *object, const char *what, size_t *out);

/* What read_size does with an object that is not an int, but may have an __index__. */
static bool read_index(Memory *self, PyObject *object, const char *what, size_t *out) {
  PyObject *number = PyNumber_Index(object);
  if (number == NULL) {
    if (PyErr_ExceptionMatches(PyExc_TypeError))
      PyErr_Format(PyExc_TypeError, "%s must be an int, not %.200s", what, Py_TYPE(object)->tp_name);
    return false;
  }
  bool read = read_size(self, number, what, out);
  Py_DECREF(number);
  return read;
}

/* Reads a non-negative offset or size; false with an exception set. A number too large for any memory comes out as SIZE_MAX. */
static inline bool read_size(Memory *self, PyObject *object, const char *what, size_t *out) {
  if (UNLIKELY(!PyLong_Check(object))) return read_index(self, object, what, out);
  int overflow;
  long long number = PyLong_AsLongLongAndOverflow(object, &overflow);
  if (UNLIKELY(overflow < 0 || (overflow == 0 && number < 0))) {
    PyObject *text = shown_int(self, object);
    if (text != NULL) PyErr_Format(PyExc_ValueError, "%s must not be negative: %U", what, text);
    Py_XDECREF(text);
    return false;
  }
  *out = UNLIKELY(overflow) ? SIZE_MAX : (size_t)number;
  return true;
}

/* `wanted` is passed on as it was made: a new reference, or NULL with an exception set. */
static PyObject *refuse_access(Memory *self, const char *verb, PyObject *offset, PyObject *wanted, size_t size) {
  PyObject *much = wanted != NULL ? shown_int(self, wanted) : NULL, *at = much != NULL ? shown_int(self, offset) : NULL;
  if (at != NULL)
    PyErr_Format(self->store->state->memory_access_error,
                 "cannot %s %U bytes at offset %U: the memory ends at %zu", verb, much, at, size);
  Py_XDECREF(wanted);
  Py_XDECREF(much);
  Py_XDECREF(at);
  return NULL;
}

/* The parameters of a method, in order. */
typedef struct Parameters {
  const char *method, *listed, *names[2];
  Py_ssize_t count;
} Parameters;

static const Parameters of_read = {"read", "2 arguments (offset, size)", {"offset", "size"}, 2};
static const Parameters of_write = {"write", "2 arguments (offset, data)", {"offset", "data"}, 2};
static const Parameters of_grow = {"grow", "1 argument (pages)", {"pages"}, 1};

/* Puts arguments, some of them given by name, into their places in `room`, and returns that; NULL with an exception set.
 * `count` are given by position, before them.
 */
static PyObject *const *order(const Parameters *wanted, PyObject *const *args, Py_ssize_t count, PyObject *names,
                              PyObject **room) {
  Py_ssize_t named = names != NULL ? PyTuple_GET_SIZE(names) : 0;
  for (Py_ssize_t n = 0; n < named; n++) {
    Py_ssize_t at = 0;
    while (at < wanted->count && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, n), wanted->names[at]) != 0) at++;
    if (at == wanted->count || at < count) {
      const char *text = at < count ? "%s() got two values for %R; it takes %s" : "%s() has no parameter %R; it takes %s";
      PyErr_Format(PyExc_TypeError, text, wanted->method, PyTuple_GET_ITEM(names, n), wanted->listed);
      return NULL;
    }
    room[at] = args[count + n];
  }
  if (count + named != wanted->count) {
    PyErr_Format(PyExc_TypeError, "%s() takes %s, %zd given", wanted->method, wanted->listed, count + named);
    return NULL;
  }
  for (Py_ssize_t n = 0; n < count; n++) room[n] = args[n];
  return room;
}

/* The arguments in their order: `args` as they are where all are given by position. NULL with an exception set. */
static inline PyObject *const *arguments(const Parameters *wanted, PyObject *const *args, Py_ssize_t count,
                                         PyObject *names, PyObject **room) {
  if (LIKELY(names == NULL && count == wanted->count)) return args;
  return order(wanted, args, count, names, room);
}

static PyObject *Memory_read(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names) {
  Memory *self = (Memory *)object;
  size_t offset, wanted, size;
  PyObject *room[2];
  if ((args = arguments(&of_read, args, count, names, room)) == NULL || !read_size(self, args[0], "offset", &offset) ||
      !read_size(self, args[1], "size", &wanted) || UNLIKELY(memory_check(self) < 0))
    return NULL;
  uint8_t *data = memory_data(self, &size);
  if (UNLIKELY(offset > size || wanted > size - offset))
    return refuse_access(self, "read", args[0], Py_NewRef(args[1]), size);
  return PyBytes_FromStringAndSize((const char *)data + offset, (Py_ssize_t)wanted);
}

static PyObject *Memory_write(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names) {
  Memory *self = (Memory *)object;
  size_t offset, size;
  Py_buffer source;
  PyObject *room[2];
  if ((args = arguments(&of_write, args, count, names, room)) == NULL || !read_size(self, args[0], "offset", &offset))
    return NULL;
  if (PyObject_GetBuffer(args[1], &source, PyBUF_SIMPLE) < 0) return NULL;
  PyObject *result = NULL;
  if (LIKELY(memory_check(self) == 0)) { /* only now: taking the buffer may have run Python code */
    uint8_t *data = memory_data(self, &size);
    if (UNLIKELY(offset > size || (size_t)source.len > size - offset)) {
      refuse_access(self, "write", args[0], PyLong_FromSsize_t(source.len), size);
    } else {
      memmove(data + offset, source.buf, (size_t)source.len); /* the source may be a view of this memory */
      result = Py_NewRef(Py_None);
    }
  }
  PyBuffer_Release(&source);
  return result;
}

static PyObject *Memory_grow(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names) {
  Memory *self = (Memory *)object;
  Store *store = self->store;
  size_t delta;
  uint64_t previous;
  wrt_failure failure;
  PyObject *room[1];
  if ((args = arguments(&of_grow, args, count, names, room)) == NULL || !read_size(self, args[0], "pages", &delta) ||
      memory_check(self) < 0 || store_enter(store) < 0)
    return NULL;
  int result = store->ops->memory_grow(store->native, &self->handle, delta, &previous, &failure);
  PyObject *value = NULL;
  if (result == WRT_OK) {
    value = PyLong_FromUnsignedLongLong(previous);
  } else if (result == WRT_LIMIT) {
    size_t size;
    memory_data(self, &size);
    store->ops->failure_clear(&failure);
    PyObject *much = shown_int(self, args[0]);
    if (much != NULL)
      PyErr_Format(store->state->memory_access_error,
                   "cannot grow the memory of %zu bytes by %U pages: a limit forbids it", size, much);
    Py_XDECREF(much);
  } else {
    raise_failure(store, result, &failure);
  }
  store_leave(store);
  return value;
}

static Py_ssize_t Memory_length(PyObject *object) {
  Memory *self = (Memory *)object;
  size_t size;
  if (UNLIKELY(memory_check(self) < 0)) return -1;
  memory_data(self, &size);
  return (Py_ssize_t)size;
}

static PyObject *Memory_get_size(PyObject *object, void *unused) {
  (void)unused;
  Py_ssize_t size = Memory_length(object);
  return size < 0 ? NULL : PyLong_FromSsize_t(size);
}

static PyObject *Memory_get_type(PyObject *object, void *unused) {
  (void)unused;
  Memory *self = (Memory *)object;
  Store *store = self->store;
  wrt_extern_type type;
  wrt_failure failure;
  if (memory_check(self) < 0) return NULL;
  int result = store->ops->extern_type(store->native, &self->handle, &type, &failure);
  if (result != WRT_OK) return raise_failure(store, result, &failure);
  PyObject *maximum = type.has_maximum ? PyLong_FromUnsignedLongLong(type.maximum) : Py_NewRef(Py_None);
  if (maximum == NULL) return NULL;
  return PyObject_CallFunction(store->state->make_memory_type, "KNOOK", (unsigned long long)type.minimum, maximum,
                               type.is_64 ? Py_True : Py_False, type.shared ? Py_True : Py_False,
                               (unsigned long long)type.page_size);
}

static int Memory_getbuffer(PyObject *object, Py_buffer *view, int flags) {
  Memory *self = (Memory *)object;
  static uint8_t nothing;
  size_t size;
  view->obj = NULL;
  if (memory_check(self) < 0) return -1;
  uint8_t *data = memory_data(self, &size);
  if (PyBuffer_FillInfo(view, object, data != NULL ? data : &nothing, (Py_ssize_t)size, 0, flags) < 0) return -1;
  self->store->views++;
  return 0;
}

static void Memory_releasebuffer(PyObject *object, Py_buffer *view) {
  (void)view;
  Store *store = ((Memory *)object)->store;
  store->views--;
  if (store->closing != NULL) store_close_instances(store);
  if (store->closed && store->depth == 0) store_settle(store);
}

static PyObject *Memory_close(PyObject *object, PyObject *unused) {
  (void)unused;
  ((Memory *)object)->closed = true;
  Py_RETURN_NONE;
}

static PyObject *Memory_get_store(PyObject *object, void *unused) {
  (void)unused;
  return Py_NewRef(((Memory *)object)->store);
}

static PyObject *Memory_get_handle(PyObject *object, void *unused) {
  (void)unused;
  return PyBytes_FromStringAndSize((const char *)&((Memory *)object)->handle, sizeof(wrt_extern));
}

static PyObject *Memory_repr(PyObject *object) {
  Memory *self = (Memory *)object;
  if (self->closed || self->store->closed) return PyUnicode_FromString("<Memory (closed)>");
  if (self->store->depth != 0 && self->store->owner != this_thread())
    return PyUnicode_FromString("<Memory (busy)>");
  size_t size;
  memory_data(self, &size);
  return PyUnicode_FromFormat("<Memory of %zu bytes>", size);
}

/* The state of the module that `type`, or the class that it is derived from, belongs to. */
static State *state_of(PyTypeObject *type) {
  while (!(type->tp_flags & Py_TPFLAGS_HEAPTYPE) || ((PyHeapTypeObject *)type)->ht_module == NULL) type = type->tp_base;
  return PyType_GetModuleState(type);
}

/* Memory(store, handle): the adapter's way to make one. */
static PyObject *Memory_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  PyObject *store, *bytes;
  wrt_extern handle;
  (void)keywords;
  if (!PyArg_ParseTuple(args, "OS", &store, &bytes) || !read_handle(bytes, &handle, sizeof handle)) return NULL;
  State *state = state_of(type);
  if (state == NULL) return NULL;
  if (!PyObject_TypeCheck(store, state->store_type)) {
    PyErr_SetString(PyExc_TypeError, "a Memory is made in a Store");
    return NULL;
  }
  Memory *self = (Memory *)type->tp_alloc(type, 0);
  if (self == NULL) return NULL;
  self->store = (Store *)Py_NewRef(store);
  self->handle = handle;
  return (PyObject *)self;
}

static int Memory_traverse(PyObject *object, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(((Memory *)object)->store);
  return 0;
}

static void Memory_dealloc(PyObject *object) {
  Memory *self = (Memory *)object;
  PyTypeObject *type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (self->weakrefs != NULL) PyObject_ClearWeakRefs(object);
  Py_XDECREF(self->store);
  type->tp_free(self);
  Py_DECREF(type);
}

static PyMethodDef memory_methods[] = {
    {"read", (PyCFunction)(void (*)(void))Memory_read, METH_FASTCALL | METH_KEYWORDS,
     "read($self, /, offset, size)\n--\n\nCopy `size` bytes out, starting at `offset`."},
    {"write", (PyCFunction)(void (*)(void))Memory_write, METH_FASTCALL | METH_KEYWORDS,
     "write($self, /, offset, data)\n--\n\nCopy the bytes-like `data` in, starting at `offset`."},
    {"grow", (PyCFunction)(void (*)(void))Memory_grow, METH_FASTCALL | METH_KEYWORDS,
     "grow($self, /, pages)\n--\n\nGrow by `pages` and return the size before, in pages."},
    {"_close", Memory_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef memory_getset[] = {
    {"size", Memory_get_size, NULL, "The current size in bytes.", NULL},
    {"type", Memory_get_type, NULL, "The memory's type, a MemoryType with limits in pages.", NULL},
    {"_store", Memory_get_store, NULL, NULL, NULL},
    {"_handle", Memory_get_handle, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef memory_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Memory, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot memory_slots[] = {
    {Py_tp_doc, "A linear memory of a guest; memoryview(memory) gives a view without a copy."},
    {Py_tp_new, Memory_new},
    {Py_tp_methods, memory_methods},
    {Py_tp_getset, memory_getset},
    {Py_tp_members, memory_members},
    {Py_tp_repr, Memory_repr},
    {Py_sq_length, Memory_length},
    {Py_bf_getbuffer, Memory_getbuffer},
    {Py_bf_releasebuffer, Memory_releasebuffer},
    {Py_tp_traverse, Memory_traverse},
    {Py_tp_dealloc, Memory_dealloc},
    {0, NULL},
};

PyType_Spec memory_spec = {
    .name = "pywasmrt._shim._fastcall.Memory",
    .basicsize = sizeof(Memory),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = memory_slots,
};
