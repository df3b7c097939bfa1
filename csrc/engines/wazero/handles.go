package main

import (
	"sync"
	"sync/atomic"
)

const chunkSize = 1024

// registry keeps the Go objects that C knows by number. Looking a number up takes no lock: a chunk never moves, and C gets a
// number only after its place was filled. The number 0 is never used.
type registry[T any] struct {
	chunks atomic.Pointer[[]*[chunkSize]*T]
	mutex  sync.Mutex // of what follows
	used   uintptr
	free   []uintptr
}

func (r *registry[T]) add(item *T) uintptr {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var number uintptr
	if n := len(r.free); n > 0 {
		number = r.free[n-1]
		r.free = r.free[:n-1]
	} else {
		r.used++
		number = r.used
	}
	var chunks []*[chunkSize]*T
	if known := r.chunks.Load(); known != nil {
		chunks = *known
	}
	if int(number/chunkSize) >= len(chunks) {
		chunks = append(chunks[:len(chunks):len(chunks)], new([chunkSize]*T))
		r.chunks.Store(&chunks)
	}
	chunks[number/chunkSize][number%chunkSize] = item
	return number
}

func (r *registry[T]) get(number uintptr) *T {
	return (*r.chunks.Load())[number/chunkSize][number%chunkSize]
}

func (r *registry[T]) remove(number uintptr) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	(*r.chunks.Load())[number/chunkSize][number%chunkSize] = nil
	r.free = append(r.free, number)
}

var (
	engines   registry[engine]
	modules   registry[module]
	stores    registry[store]
	instances registry[instance]
	functions registry[function]
	others    registry[other]
)
