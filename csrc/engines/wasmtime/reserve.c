/* reserve.c: memory mappings held in reserve, for when the system gives no more.
 *
 * Each guest that sleeps holds a few mappings, and the kernel limits how many a process has. The engine reports when that limit
 * is reached, but then the host has reached it as well: its next allocation may fail, and with it the handling of the failure.
 * So some mappings are held from the first task on, and given back at the moment when the engine reaches the limit.
 */
#include "reserve.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAPPINGS = 256 };

static void *held; /* atomic: the thread that takes it out owns it */

static size_t page(void) { return (size_t)sysconf(_SC_PAGESIZE); }

void wt_reserve_hold(void) {
  if (__atomic_load_n(&held, __ATOMIC_RELAXED) != NULL) return;
  size_t size = MAPPINGS * page();
  char *place = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) return;
  for (size_t i = 1; i < MAPPINGS; i += 2) { /* pages of different protection are separate mappings */
    if (mprotect(place + i * page(), page(), PROT_READ) != 0) break;
  }
  void *none = NULL;
  if (!__atomic_compare_exchange_n(&held, &none, place, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) munmap(place, size);
}

void wt_reserve_release(const char *message, size_t size) {
  static const char refused[] = "(os error 12)";
  size_t length = sizeof refused - 1;
  bool found = false;
  for (size_t i = 0; i + length <= size && !found; i++) found = memcmp(message + i, refused, length) == 0;
  if (!found) return;
  void *place = __atomic_exchange_n(&held, NULL, __ATOMIC_ACQ_REL);
  if (place != NULL) munmap(place, MAPPINGS * page());
}
