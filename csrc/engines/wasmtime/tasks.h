/* tasks.h: calls that can be suspended, by the asynchronous part of Wasmtime's C API. For this folder only. */
#ifndef WRT_WASMTIME_TASKS_H
#define WRT_WASMTIME_TASKS_H

#include "objects.h"
#include "wrt_task.h"

#pragma GCC visibility push(hidden)

extern const wrt_task_ops wt_tasks;

#pragma GCC visibility pop

#endif
