/* stack.h: where the running thread's native stack ends. */
#ifndef WRT_STACK_H
#define WRT_STACK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Lowest address of this thread's stack; 0 where the system does not tell. */
static inline uintptr_t find_stack_bottom(void) {
#ifdef __linux__
  pthread_attr_t attributes;
  void *bottom = NULL;
  size_t size;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return 0;
  if (pthread_attr_getstack(&attributes, &bottom, &size) != 0) bottom = NULL;
  pthread_attr_destroy(&attributes);
  return (uintptr_t)bottom;
#elif defined(__APPLE__)
  return (uintptr_t)pthread_get_stackaddr_np(pthread_self()) - pthread_get_stacksize_np(pthread_self());
#else
  return 0;
#endif
}

#endif
