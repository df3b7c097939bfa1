/* stack.h: where the running thread's native stack ends, and what of it is the host's. */
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
  /* What Python may need of the native stack for C code that calls itself, within a recursion limit of 1,000: json, repr,
   * pickle, compile, map, __getattr__ and the like were measured at 0.8 MiB on CPython 3.10 to 3.12 and at 1.8 MiB on 3.13;
   * list.sort with a key that sorts at 1.7 to 2.5 MiB, and at 5 MiB on 3.13. */
  HOST_STACK = 3 << 20,
  /* What compiling a module may take of the calling thread's, with room to spare; and reading or validating one. */
  COMPILER_STACK = 512 << 10,
  READER_STACK = 128 << 10,
  /* No stack is taken to be larger than this: where the system sets no limit, the number it tells is none. */
  MOST_STACK = 64 << 20
};

/* What is the host's of a stack of `size` bytes: HOST_STACK, or `part` quarters of a stack that is too small for that. */
static inline size_t host_share(size_t size, unsigned part) {
  size_t share = size / 4 * part;
  return share < HOST_STACK ? share : HOST_STACK;
}

#ifdef __linux__
/* The main thread's stack grows as it is used, and how far is looked up then: a limit that was lowered meanwhile ends it early.
 * So it is made to grow at once to where it may be used: the kernel is asked to write down there, which takes one page, and
 * says no where it cannot. Returns the lowest address that can be used. */
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
