/* module.c: the extension module pywasmrt._shim._fastcall: its types, and what they ask of Python. */
#include "component.h"

static const struct {
  const char *module;
  const char *name;
  size_t offset;
} wanted[] = {
    {"pywasmrt.errors", "ClosedError", offsetof(State, closed_error)},
    {"pywasmrt.errors", "BusyError", offsetof(State, busy_error)},
    {"pywasmrt.errors", "MemoryAccessError", offsetof(State, memory_access_error)},
    {"pywasmrt.errors", "WasmError", offsetof(State, wasm_error)},
    {"pywasmrt.errors", "Interrupted", offsetof(State, interrupted)},
    {"pywasmrt.errors", "DeadlineExceeded", offsetof(State, deadline_exceeded)},
    {"pywasmrt._shim.bridge", "make_function_type", offsetof(State, make_function_type)},
    {"pywasmrt._shim.bridge", "make_memory_type", offsetof(State, make_memory_type)},
    {"pywasmrt._shim.bridge", "convert_arguments", offsetof(State, convert_arguments)},
    {"pywasmrt._shim.bridge", "convert_result", offsetof(State, convert_result)},
    {"pywasmrt._shim.bridge", "raise_argument_error", offsetof(State, raise_argument_error)},
    {"pywasmrt._shim.bridge", "raise_uncallable", offsetof(State, raise_uncallable)},
    {"pywasmrt._shim.bridge", "raise_result_error", offsetof(State, raise_result_error)},
    {"pywasmrt._shim.bridge", "raise_slots_error", offsetof(State, raise_slots_error)},
    {"pywasmrt._shim.bridge", "raise_no_stack", offsetof(State, raise_no_stack)},
    {"pywasmrt._shim.bridge", "raise_no_host_stack", offsetof(State, raise_no_host_stack)},
    {"pywasmrt._shim.bridge", "raise_asynchronous", offsetof(State, raise_asynchronous)},
    {"pywasmrt._shim.bridge", "run_pending", offsetof(State, run_pending)},
    {"pywasmrt._shim.waiting", "first_wait", offsetof(State, first_wait)},
    {"pywasmrt._shim.bridge", "shown_int", offsetof(State, shown_int)},
    {"pywasmrt.errors", "WasmException", offsetof(State, wasm_exception)},
    {"pywasmrt.errors", "ComponentError", offsetof(State, component_error)},
    {"pywasmrt._shim.asynchronous", "call_async", offsetof(State, call_async)},
    {"pywasmrt._shim.batch", "map_native", offsetof(State, map_native)},
    {"collections.abc", "Mapping", offsetof(State, mapping_class)},
};
enum { WANTED = sizeof wanted / sizeof *wanted };

static inline PyObject **place(State *state, size_t offset) { return (PyObject **)((char *)state + offset); }

static int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **out) {
  *out = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
  return *out == NULL ? -1 : PyModule_AddType(module, *out);
}

/* Has the interpreter call leave_threads() when it ends, before it frees the states of threads. Others end before the main one,
 * and have no threads by then. */
static int register_at_exit(PyObject *module) {
  if (PyInterpreterState_Get() != PyInterpreterState_Main()) return 0;
  PyObject *function = PyObject_GetAttrString(module, "leave_threads");
  PyObject *source = function == NULL ? NULL : PyImport_ImportModule("atexit");
  PyObject *registered = source == NULL ? NULL : PyObject_CallMethod(source, "register", "O", function);
  Py_XDECREF(function);
  Py_XDECREF(source);
  Py_XDECREF(registered);
  return registered == NULL ? -1 : 0;
}

static int module_exec(PyObject *module) {
  static bool stops_at_exit;
  State *state = PyModule_GetState(module);
  if (register_at_exit(module) < 0) return -1;
  if (!stops_at_exit) stops_at_exit = Py_AtExit(ticker_stop) == 0;
  for (size_t i = 0; i < WANTED; i++) {
    PyObject *source = PyImport_ImportModule(wanted[i].module);
    if (source == NULL) return -1;
    *place(state, wanted[i].offset) = PyObject_GetAttrString(source, wanted[i].name);
    Py_DECREF(source);
    if (*place(state, wanted[i].offset) == NULL) return -1;
  }
  if (add_type(module, &handle_spec, &state->handle_type) < 0 ||
      add_type(module, &engine_spec, &state->engine_type) < 0 || add_type(module, &store_spec, &state->store_type) < 0 ||
      add_type(module, &function_spec, &state->function_type) < 0 ||
      add_type(module, &memory_spec, &state->memory_type) < 0 || add_type(module, &caller_spec, &state->caller_type) < 0 ||
      add_type(module, &linked_spec, &state->linked_type) < 0 || add_type(module, &task_spec, &state->task_type) < 0 ||
      add_type(module, &reference_spec, &state->reference_type) < 0)
    return -1;
  if (add_type(module, &plan_spec, &state->plan_type) < 0 ||
      add_type(module, &component_function_spec, &state->component_function_type) < 0 ||
      add_type(module, &linker_spec, &state->linker_type) < 0 ||
      add_type(module, &profile_spec, &state->profile_type) < 0 ||
      add_type(module, &probe_spec, &state->probe_type) < 0 ||
      add_type(module, &resource_spec, &state->resource_type) < 0)
    return -1;
  state->value_name = PyUnicode_InternFromString("value");
  state->payload_name = PyUnicode_InternFromString("payload");
  if (state->value_name == NULL || state->payload_name == NULL) return -1;
  return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
  State *state = PyModule_GetState(module);
  for (size_t i = 0; i < WANTED; i++) Py_VISIT(*place(state, wanted[i].offset));
  Py_VISIT(state->handle_type);
  Py_VISIT(state->engine_type);
  Py_VISIT(state->store_type);
  Py_VISIT(state->function_type);
  Py_VISIT(state->memory_type);
  Py_VISIT(state->caller_type);
  Py_VISIT(state->linked_type);
  Py_VISIT(state->task_type);
  Py_VISIT(state->profile_type);
  Py_VISIT(state->probe_type);
  Py_VISIT(state->reference_type);
  Py_VISIT(state->plan_type);
  Py_VISIT(state->component_function_type);
  Py_VISIT(state->linker_type);
  Py_VISIT(state->resource_type);
  return 0;
}

/* There is no m_clear: a store that dies in the same cycle still uses the state, and breaking the types breaks the cycle. */
static void module_free(void *module) {
  State *state = PyModule_GetState(module);
  for (size_t i = 0; i < WANTED; i++) Py_CLEAR(*place(state, wanted[i].offset));
  Py_CLEAR(state->handle_type);
  Py_CLEAR(state->engine_type);
  Py_CLEAR(state->store_type);
  Py_CLEAR(state->function_type);
  Py_CLEAR(state->memory_type);
  Py_CLEAR(state->caller_type);
  Py_CLEAR(state->linked_type);
  Py_CLEAR(state->task_type);
  Py_CLEAR(state->profile_type);
  Py_CLEAR(state->probe_type);
  Py_CLEAR(state->reference_type);
  Py_CLEAR(state->plan_type);
  Py_CLEAR(state->component_function_type);
  Py_CLEAR(state->linker_type);
  Py_CLEAR(state->resource_type);
  Py_CLEAR(state->value_name);
  Py_CLEAR(state->payload_name);
}

static PyObject *module_this_thread(PyObject *module, PyObject *unused) {
  (void)module;
  (void)unused;
  return PyLong_FromUnsignedLongLong(this_thread());
}

static PyObject *module_leave_threads(PyObject *module, PyObject *unused) {
  (void)module;
  (void)unused;
  leave_threads();
  Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"this_thread", module_this_thread, METH_NOARGS,
     "this_thread($module, /)\n--\n\nThe running thread, as Store.interrupt knows it."},
    {"leave_threads", module_leave_threads, METH_NOARGS,
     "leave_threads($module, /)\n--\n\nHave guests that run see no more exceptions from outside: the interpreter ends."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_USED}, // the checks of a store rely on the GIL: a free-threaded interpreter turns it on, and warns
#endif
    {0, NULL},
};

static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pywasmrt._shim._fastcall",
    .m_doc = "Calls into and out of guests, over an engine table.",
    .m_size = sizeof(State),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__fastcall(void) { return PyModuleDef_Init(&module); }
