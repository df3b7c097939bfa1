/* files.c: the extension module pywasmrt._shim._files: descriptors of the host, each owned by an object from its first moment.
 *
 * Between `fd = os.open(...)` and the next line of Python a signal handler may raise, and nobody closes the descriptor; a
 * destructor in Python may be interrupted in the same way. So the object is made first, the system call stores its result
 * there, and closing happens in C: no bytecode runs in between. pywasmrt/wasi/handles.py holds the twin in Python.
 */
#define PY_SSIZE_T_CLEAN
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <Python.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <structmember.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif

enum { RESOLVE_NO_MAGIC_LINKS = 0x02, RESOLVE_WITHIN = 0x08, OPENAT2 = 437, RACES = 64 };

/* `struct open_how` of openat2, which not every libc's headers hold. */
typedef struct How {
  uint64_t flags;
  uint64_t mode;
  uint64_t resolve;
} How;

/* A descriptor. `fd` is -1 while there is none. */
typedef struct Handle {
  PyObject_HEAD
  int fd;
} Handle;

typedef struct State {
  PyTypeObject *handle_type;
} State;

/* ---- Handle ---- */

/* A new handle of nothing; the caller owns it. */
static Handle *handle_new(PyObject *module) {
  State *state = PyModule_GetState(module);
  Handle *self = PyObject_New(Handle, state->handle_type);
  if (self != NULL) self->fd = -1;
  return self;
}

static void shut(Handle *self) {
  int fd = self->fd;
  self->fd = -1; /* first: a signal handler that runs while the GIL is released finds nothing to close */
  if (fd < 0) return;
  Py_BEGIN_ALLOW_THREADS;
  close(fd);
  Py_END_ALLOW_THREADS;
}

static void handle_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  PyObject *kept_type, *kept_value, *kept_traceback;
  PyErr_Fetch(&kept_type, &kept_value, &kept_traceback);
  shut((Handle *)self);
  PyErr_Restore(kept_type, kept_value, kept_traceback);
  PyObject_Free(self);
  Py_DECREF(type);
}

static PyObject *handle_close(PyObject *self, PyObject *unused) {
  (void)unused;
  shut((Handle *)self);
  Py_RETURN_NONE;
}

static PyObject *handle_fileno(PyObject *self, PyObject *unused) {
  (void)unused;
  return PyLong_FromLong(((Handle *)self)->fd);
}

static PyObject *handle_index(PyObject *self) { return handle_fileno(self, NULL); }

static PyObject *handle_repr(PyObject *self) { return PyUnicode_FromFormat("<Handle %d>", ((Handle *)self)->fd); }

static PyMethodDef handle_methods[] = {
    {"close", handle_close, METH_NOARGS, "close($self, /)\n--\n\nClose the descriptor. Idempotent."},
    {"fileno", handle_fileno, METH_NOARGS, "fileno($self, /)\n--\n\nThe descriptor's number; -1 once it is closed."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef handle_members[] = {
    {"fd", T_INT, offsetof(Handle, fd), READONLY, "The descriptor's number; -1 once it is closed."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot handle_slots[] = {
    {Py_tp_dealloc, handle_dealloc},
    {Py_tp_doc, "A descriptor of this process, closed when the object is dropped."},
    {Py_tp_methods, handle_methods},
    {Py_tp_members, handle_members},
    {Py_tp_repr, handle_repr},
    {Py_nb_index, handle_index},
    {0, NULL},
};

static PyType_Spec handle_spec = {
    .name = "pywasmrt._shim._files.Handle",
    .basicsize = sizeof(Handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = handle_slots,
};

/* ---- what makes one ---- */

/* The handle `self` with the result of a system call, or, where that failed, the OSError of `error` about `path` (NULL for
 * none). Takes over `self`. */
static PyObject *finished(Handle *self, int fd, int error, const char *path) {
  self->fd = fd;
  if (fd >= 0) return (PyObject *)self;
  Py_DECREF(self);
  errno = error;
  return path == NULL ? PyErr_SetFromErrno(PyExc_OSError) : PyErr_SetFromErrnoWithFilename(PyExc_OSError, path);
}

static PyObject *files_open_at(PyObject *module, PyObject *args) {
  int directory, flags, mode, fd, error;
  const char *path;
  if (!PyArg_ParseTuple(args, "iyii", &directory, &path, &flags, &mode)) return NULL;
  Handle *self = handle_new(module);
  if (self == NULL) return NULL;
  do {
    Py_BEGIN_ALLOW_THREADS;
    fd = openat(directory, path, flags | O_CLOEXEC, (mode_t)mode);
    error = errno;
    Py_END_ALLOW_THREADS;
  } while (fd < 0 && error == EINTR && PyErr_CheckSignals() == 0);
  if (fd < 0 && PyErr_Occurred()) {
    Py_DECREF(self);
    return NULL;
  }
  return finished(self, fd, error, path);
}

static int open_within(int directory, const char *path, How *how) {
#ifdef __linux__
  return (int)syscall(OPENAT2, directory, path, how, sizeof *how);
#else
  (void)directory, (void)path, (void)how;
  errno = ENOSYS;
  return -1;
#endif
}

static PyObject *files_open_beneath(PyObject *module, PyObject *args) {
  int directory, flags, mode, fd, error;
  const char *path;
  if (!PyArg_ParseTuple(args, "iyii", &directory, &path, &flags, &mode)) return NULL;
  Handle *self = handle_new(module);
  if (self == NULL) return NULL;
  How how = {.flags = (uint64_t)(flags | O_CLOEXEC),
             .mode = (flags & O_CREAT) ? (uint64_t)mode : 0,
             .resolve = RESOLVE_WITHIN | RESOLVE_NO_MAGIC_LINKS};
  int tries = 0;
  do { /* EAGAIN: a rename happened meanwhile, and the kernel could not tell whether the path led out */
    Py_BEGIN_ALLOW_THREADS;
    fd = open_within(directory, path, &how);
    error = errno;
    Py_END_ALLOW_THREADS;
  } while (fd < 0 && (error == EAGAIN || error == EINTR) && ++tries < RACES && PyErr_CheckSignals() == 0);
  if (fd < 0 && PyErr_Occurred()) {
    Py_DECREF(self);
    return NULL;
  }
  return finished(self, fd, error, path);
}

static PyObject *files_duplicate(PyObject *module, PyObject *number) {
  int of = PyObject_AsFileDescriptor(number);
  if (of < 0) return NULL;
  Handle *self = handle_new(module);
  if (self == NULL) return NULL;
  int fd = fcntl(of, F_DUPFD_CLOEXEC, 0);
  return finished(self, fd, errno, NULL);
}

/* Never blocks for long: the caller checked first that a connection is waiting. EAGAIN on a non-blocking socket without one. */
static PyObject *files_accept(PyObject *module, PyObject *number) {
  int of = PyObject_AsFileDescriptor(number), fd, error;
  if (of < 0) return NULL;
  Handle *self = handle_new(module);
  if (self == NULL) return NULL;
  Py_BEGIN_ALLOW_THREADS;
#ifdef __linux__
  fd = accept4(of, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
#else
  fd = accept(of, NULL, NULL);
  if (fd >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC), fcntl(fd, F_SETFL, O_NONBLOCK);
#endif
  error = errno;
  Py_END_ALLOW_THREADS;
  return finished(self, fd, error, NULL);
}

static PyObject *files_pipe(PyObject *module, PyObject *unused) {
  (void)unused;
  int ends[2];
  Handle *reading = handle_new(module), *writing = handle_new(module);
  PyObject *both = reading == NULL || writing == NULL ? NULL : PyTuple_Pack(2, reading, writing);
  if (both != NULL) {
    if (pipe(ends) < 0) {
      Py_CLEAR(both);
      PyErr_SetFromErrno(PyExc_OSError);
    } else {
      for (int i = 0; i < 2; i++) fcntl(ends[i], F_SETFD, FD_CLOEXEC), fcntl(ends[i], F_SETFL, O_NONBLOCK);
      reading->fd = ends[0];
      writing->fd = ends[1];
    }
  }
  Py_XDECREF(reading);
  Py_XDECREF(writing);
  return both;
}

/* ---- the module ---- */

static int module_exec(PyObject *module) {
  State *state = PyModule_GetState(module);
  state->handle_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &handle_spec, NULL);
  return state->handle_type == NULL ? -1 : PyModule_AddType(module, state->handle_type);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
  State *state = PyModule_GetState(module);
  Py_VISIT(state->handle_type);
  return 0;
}

static int module_clear(PyObject *module) {
  State *state = PyModule_GetState(module);
  Py_CLEAR(state->handle_type);
  return 0;
}

static void module_free(void *module) { module_clear(module); }

static PyMethodDef module_methods[] = {
    {"open_at", files_open_at, METH_VARARGS,
     "open_at($module, directory, path, flags, mode, /)\n--\n\nopenat(2). Raises OSError."},
    {"open_beneath", files_open_beneath, METH_VARARGS,
     "open_beneath($module, directory, path, flags, mode, /)\n--\n\n"
     "openat2(2), never out of `directory`. Raises OSError: EXDEV for a path that leads out, ENOSYS where there is none."},
    {"duplicate", files_duplicate, METH_O, "duplicate($module, fd, /)\n--\n\nA second descriptor of the same file."},
    {"accept", files_accept, METH_O,
     "accept($module, fd, /)\n--\n\nThe next connection of a listening socket, which does not block. Raises OSError."},
    {"pipe", files_pipe, METH_NOARGS, "pipe($module, /)\n--\n\nThe reading and the writing end of a pipe; neither blocks."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_USED}, // the GIL guards a handle's descriptor against being closed while it is read
#endif
    {0, NULL},
};

static PyModuleDef files_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pywasmrt._shim._files",
    .m_doc = "Descriptors of the host, owned by objects.",
    .m_size = sizeof(State),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__files(void) { return PyModuleDef_Init(&files_module); }
