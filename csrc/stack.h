/* stack.h: where the running thread's native stack ends, and which part of it is reserved for the host. */
#ifndef WRT_STACK_H
#define WRT_STACK_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#endif

enum {
  /* How much native stack Python may need for recursive C code, within a recursion limit of 1,000: json, repr, pickle, compile,
   * map, __getattr__ and the like were measured at 0.8 MiB on CPython 3.10 to 3.12 and at 1.8 MiB on 3.13; list.sort with a key
   * that sorts at 1.7 to 2.5 MiB, and at 5 MiB on 3.13. */
  HOST_STACK = 3 << 20,
  /* How much of the calling thread's stack compiling a module may take, with room to spare; then reading or validating one. */
  COMPILER_STACK = 512 << 10,
  READER_STACK = 128 << 10,
  /* No stack is taken to be larger than this: where the system sets no limit, the size it reports means nothing. */
  MOST_STACK = 64 << 20
};

/* How much of a stack of `size` bytes is reserved for the host: HOST_STACK, or `part` quarters of a smaller stack. */
static inline size_t host_share(size_t size, unsigned part) {
  size_t share = size / 4 * part;
  return share < HOST_STACK ? share : HOST_STACK;
}

#ifdef __linux__
/* The main thread's stack grows as it is used, and its limit is looked up at each growth: a limit that was lowered meanwhile
 * ends it early. So the stack is made to grow at once to the lowest address that may be used: the kernel is asked to write
 * there, which takes one page, and refuses where it cannot. Returns the lowest address that can be used. */
static inline uintptr_t claim_stack(uintptr_t bottom) {
  uintptr_t here = (uintptr_t)__builtin_frame_address(0);
  const size_t step = 64 << 10;
  for (; here > bottom + step; bottom += step)
    if (syscall(SYS_clock_gettime, CLOCK_MONOTONIC, (void *)bottom) == 0) break;
  return bottom;
}
#endif

/* Lowest address of this thread's stack; 0 where the system does not tell. */
static inline uintptr_t find_stack_bottom(void) {
#ifdef __linux__
  pthread_attr_t attributes;
  void *bottom = NULL;
  size_t size = 0;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return 0;
  if (pthread_attr_getstack(&attributes, &bottom, &size) != 0) bottom = NULL;
  pthread_attr_destroy(&attributes);
  if (bottom == NULL) return 0;
  if (size > MOST_STACK) bottom = (char *)bottom + (size - MOST_STACK);
  return getpid() == (pid_t)syscall(SYS_gettid) ? claim_stack((uintptr_t)bottom) : (uintptr_t)bottom;
#elif defined(__APPLE__)
  return (uintptr_t)pthread_get_stackaddr_np(pthread_self()) - pthread_get_stacksize_np(pthread_self());
#else
  return 0;
#endif
}

/* Whether this thread has less than `needed` bytes of its stack left. */
static inline bool lacks_stack(size_t needed) {
  static _Thread_local uintptr_t bottom = UINTPTR_MAX;
  uintptr_t here = (uintptr_t)__builtin_frame_address(0);
  if (bottom == UINTPTR_MAX) bottom = find_stack_bottom();
  return bottom != 0 && here - bottom < needed;
}

#endif
