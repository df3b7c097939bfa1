//go:build werror

package main

// Warnings of the C compiler are errors, in this package alone: Go's own C code has some.

// #cgo CFLAGS: -Werror
import "C"
