/* handle.c: a Handle owns one engine, module or component of an engine's, from the moment that the engine hands it out.
 *
 * The engine writes the pointer straight into the object (`place`), so no exception from a signal handler can come in between.
 * It is freed here, in C and with the GIL held: meanwhile no Python code runs that a signal handler could interrupt, and no
 * os.fork() can happen, since that needs the GIL as well.
 */
#include "fastcall.h"

static PyObject *Handle_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  PyObject *release;
  (void)keywords;
  if (!PyArg_ParseTuple(args, "O!", &PyLong_Type, &release)) return NULL;
  void *address = PyLong_AsVoidPtr(release);
  if (address == NULL) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "a handle needs the engine's function that frees it");
    return NULL;
  }
  Handle *self = (Handle *)type->tp_alloc(type, 0);
  if (self != NULL) memcpy(&self->release, &address, sizeof address);
  return (PyObject *)self;
}

void *handle_take(Handle *self) {
  void *native = self->native;
  self->native = NULL;
  return native;
}

static void Handle_dealloc(PyObject *object) {
  Handle *self = (Handle *)object;
  PyTypeObject *type = Py_TYPE(self);
  if (self->native != NULL) self->release(handle_take(self));
  type->tp_free(self);
  Py_DECREF(type);
}

static PyObject *Handle_place(PyObject *object, void *unused) {
  (void)unused;
  return PyLong_FromVoidPtr(&((Handle *)object)->native);
}

static PyObject *Handle_address(PyObject *object, void *unused) {
  (void)unused;
  return PyLong_FromVoidPtr(((Handle *)object)->native);
}

static PyGetSetDef handle_getset[] = {
    {"place", Handle_place, NULL, "Where the engine is to write its pointer.", NULL},
    {"address", Handle_address, NULL, "The engine's pointer; 0 until there is one.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot handle_slots[] = {
    {Py_tp_doc, "Owns what an engine handed out; for the adapters."},
    {Py_tp_new, Handle_new},
    {Py_tp_dealloc, Handle_dealloc},
    {Py_tp_getset, handle_getset},
    {0, NULL},
};

PyType_Spec handle_spec = {
    .name = "pywasmrt._shim._fastcall.Handle",
    .basicsize = sizeof(Handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = handle_slots,
};
