/* floor.c: the least that each measured thing can cost, as an extension module that bench/floor.py builds into build/.
 *
 * Nothing of pywasmrt's call path is used here, so that a fault there cannot lower the floor with itself.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dlfcn.h>
#include <string.h>
#include <time.h>

#include "wrt.h"
#include "engines/wasmtime/api.h"

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* The cheapest thing that Python can call with two ints to get one: what no binding can go below. */
static PyObject *noop(PyObject *module, PyObject *const *args, Py_ssize_t count) {
  (void)module;
  if (count != 2) {
    PyErr_SetString(PyExc_TypeError, "noop() takes two ints");
    return NULL;
  }
  long a = PyLong_AsLong(args[0]), b = PyLong_AsLong(args[1]);
  if ((a == -1 || b == -1) && PyErr_Occurred()) return NULL;
  return PyLong_FromLong(a + b);
}

/* engine_loop(ops, store, function, n, library) -> ns per call of a function (i32, i32) -> i32, from C alone.
 *
 * `ops` and `store` are addresses, `function` a wrt_extern as bytes. With `library`, the path of Wasmtime's shared library,
 * its own function is called, with nothing in between; with None it is called through the engine table. */
static PyObject *engine_loop(PyObject *module, PyObject *args) {
  (void)module;
  unsigned long long ops_address, store_address;
  const char *handle, *library;
  Py_ssize_t handle_size, n;
  if (!PyArg_ParseTuple(args, "KKy#nz", &ops_address, &store_address, &handle, &handle_size, &n, &library)) return NULL;
  const wrt_engine_ops *ops = (const wrt_engine_ops *)(uintptr_t)ops_address;
  wrt_store *store = (wrt_store *)(uintptr_t)store_address;
  wrt_extern function;
  if (handle_size != sizeof function || ops->slot_words != 2) {
    PyErr_SetString(PyExc_ValueError, "engine_loop() wants a handle of Wasmtime's");
    return NULL;
  }
  memcpy(&function, handle, sizeof function);

  wasmtime_error_t *(*call)(wasmtime_context_t *, const wasmtime_func *, wasmtime_val_raw *, size_t, wasm_trap_t **) = NULL;
  if (library != NULL) {
    void *opened = dlopen(library, RTLD_NOW);
    void *found = opened == NULL ? NULL : dlsym(opened, "wasmtime_func_call_unchecked");
    if (found == NULL) {
      PyErr_SetString(PyExc_OSError, "wasmtime_func_call_unchecked is not to be had");
      return NULL;
    }
    memcpy(&call, &found, sizeof call);
  }
  wasmtime_context_t *context = *(wasmtime_context_t **)store; /* the first member of engines/wasmtime/engine.c's store */
  wasmtime_extern engines_own; /* what engines/wasmtime/engine.c keeps in a wrt_extern */
  memcpy(&engines_own, &function, sizeof engines_own);

  wrt_slot slots[4];
  wrt_failure failure;
  wasm_trap_t *trap = NULL;
  uint32_t sum = 0;
  bool failed = false;
  double start = now();
  for (Py_ssize_t i = 0; i < n; i++) {
    slots[0].u64 = 1;
    slots[2].u64 = (uint32_t)i;
    if (call != NULL)
      failed |= call(context, &engines_own.of.func, (wasmtime_val_raw *)slots, 4, &trap) != NULL || trap != NULL;
    else
      failed |= ops->call(store, &function, slots, 4, &failure) != WRT_OK;
    sum += slots[0].u32;
  }
  double taken = now() - start;
  uint32_t expected = 0;
  for (Py_ssize_t i = 0; i < n; i++) expected += (uint32_t)i + 1;
  if (failed || sum != expected) {
    PyErr_SetString(PyExc_RuntimeError, "the guest's add() does not add");
    return NULL;
  }
  return PyFloat_FromDouble(taken / (double)n);
}

/* text_loop(store, function, free, memory, at, data, ends, out, library) -> ns per row for the copies and the calls alone: each row
 * of `data` (row n ends at the int64 ends[n + 1]) is copied to the start of the guest's heap, `function` gives a pointer in the
 * upper half of an i64 and a size in the lower, which is copied to `out`, and `free` takes the pointer. */
static PyObject *text_loop(PyObject *module, PyObject *args) {
  (void)module;
  unsigned long long store_address, memory_address, at;
  const char *handles[2], *library;
  Py_ssize_t sizes[2];
  Py_buffer data, ends, out;
  if (!PyArg_ParseTuple(args, "Ky#y#KKy*y*w*s", &store_address, &handles[0], &sizes[0], &handles[1], &sizes[1],
                        &memory_address, &at, &data, &ends, &out, &library))
    return NULL;
  wasmtime_error_t *(*call)(wasmtime_context_t *, const wasmtime_func *, wasmtime_val_raw *, size_t, wasm_trap_t **) = NULL;
  void *opened = dlopen(library, RTLD_NOW), *found = opened == NULL ? NULL : dlsym(opened, "wasmtime_func_call_unchecked");
  memcpy(&call, &found, sizeof call);
  wasmtime_context_t *context = *(wasmtime_context_t **)(uintptr_t)store_address;
  wasmtime_extern functions[2];
  for (int i = 0; i < 2; i++) memcpy(&functions[i], handles[i], sizeof functions[i]);
  char *memory = (char *)(uintptr_t)memory_address, *to = out.buf;
  const int64_t *offsets = ends.buf;
  wrt_slot slots[4];
  wasm_trap_t *trap = NULL;
  bool failed = call == NULL;
  double start = now();
  for (Py_ssize_t row = 0; row < ends.len / 8 - 1 && !failed; row++) {
    size_t size = (size_t)(offsets[row + 1] - offsets[row]);
    memcpy(memory + at, (const char *)data.buf + offsets[row], size);
    slots[0].u64 = at;
    slots[2].u64 = size;
    failed |= call(context, &functions[0].of.func, (wasmtime_val_raw *)slots, 4, &trap) != NULL || trap != NULL;
    uint64_t packed = slots[0].u64;
    memcpy(to, memory + (packed >> 32), (uint32_t)packed);
    to += (uint32_t)packed;
    slots[0].u64 = packed >> 32;
    failed |= call(context, &functions[1].of.func, (wasmtime_val_raw *)slots, 2, &trap) != NULL || trap != NULL;
  }
  double taken = now() - start;
  Py_ssize_t rows = ends.len / 8 - 1;
  PyBuffer_Release(&data);
  PyBuffer_Release(&ends);
  PyBuffer_Release(&out);
  if (!failed) return PyFloat_FromDouble(taken / (double)rows);
  PyErr_SetString(PyExc_RuntimeError, "the guest failed");
  return NULL;
}

/* A host function in C, where a Python one would be. */
static int increment(void *env, wrt_caller *caller, wrt_slot *slots) {
  (void)env, (void)caller;
  slots[0].u64 = slots[0].u32 + 1;
  return WRT_OK;
}

/* host_increment() -> the address of that function. */
static PyObject *host_increment(PyObject *module, PyObject *unused) {
  (void)module, (void)unused;
  return PyLong_FromVoidPtr((void *)(uintptr_t)increment);
}

/* guest_loop(ops, store, function, n) -> ns for each round of a guest's function (i32) -> i32 that makes n of them. */
static PyObject *guest_loop(PyObject *module, PyObject *args) {
  (void)module;
  unsigned long long ops_address, store_address;
  const char *handle;
  Py_ssize_t handle_size, n;
  if (!PyArg_ParseTuple(args, "KKy#n", &ops_address, &store_address, &handle, &handle_size, &n)) return NULL;
  const wrt_engine_ops *ops = (const wrt_engine_ops *)(uintptr_t)ops_address;
  wrt_extern function;
  wrt_slot slots[4] = {{.u64 = (uint32_t)n}};
  wrt_failure failure;
  memcpy(&function, handle, sizeof function);
  double start = now();
  int result = ops->call((wrt_store *)(uintptr_t)store_address, &function, slots, 4, &failure);
  double taken = now() - start;
  if (result != WRT_OK || slots[0].u32 != (uint32_t)n) {
    PyErr_SetString(PyExc_RuntimeError, "the guest's loop() does not count");
    return NULL;
  }
  return PyFloat_FromDouble(taken / (double)n);
}

/* callback_loop(callable, n) -> ns per call of a Python function that takes and returns one int, from C: one int is made
 * for each call and the result is read. */
static PyObject *callback_loop(PyObject *module, PyObject *args) {
  (void)module;
  PyObject *callable;
  Py_ssize_t n;
  if (!PyArg_ParseTuple(args, "On", &callable, &n)) return NULL;
  long value = 0;
  double start = now();
  for (Py_ssize_t i = 0; i < n; i++) {
    PyObject *room[2] = {NULL, PyLong_FromLong(value)};
    if (room[1] == NULL) return NULL;
    PyObject *result = PyObject_Vectorcall(callable, room + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(room[1]);
    if (result == NULL) return NULL;
    value = PyLong_AsLong(result);
    Py_DECREF(result);
    if (value == -1 && PyErr_Occurred()) return NULL;
  }
  return PyFloat_FromDouble((now() - start) / (double)n);
}

static PyMethodDef methods[] = {
    {"noop", (PyCFunction)(void (*)(void))noop, METH_FASTCALL, NULL},
    {"engine_loop", engine_loop, METH_VARARGS, NULL},
    {"text_loop", text_loop, METH_VARARGS, NULL},
    {"callback_loop", callback_loop, METH_VARARGS, NULL},
    {"guest_loop", guest_loop, METH_VARARGS, NULL},
    {"host_increment", host_increment, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_floor", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__floor(void) { return PyModule_Create(&definition); }
