// An HTTP client that connects by WasmEdge's socket functions: fetches the URL in its argument and prints the answer.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"
)

//go:wasmimport wasi_snapshot_preview1 sock_open
//go:noescape
func sockOpen(family, kind uint32, fd unsafe.Pointer) uint32

//go:wasmimport wasi_snapshot_preview1 sock_connect
//go:noescape
func sockConnect(fd uint32, address unsafe.Pointer, port uint32) uint32

func dial(_ context.Context, _, to string) (net.Conn, error) {
	host, service, err := net.SplitHostPort(to)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(service)
	if err != nil {
		return nil, err
	}
	ip := net.ParseIP(host).To4()
	if ip == nil {
		return nil, fmt.Errorf("%s is no IPv4 address", host)
	}
	var fd uint32
	if errno := sockOpen(1, 2, unsafe.Pointer(&fd)); errno != 0 {
		return nil, syscall.Errno(errno)
	}
	// {u32 buffer, u32 length}; Go's own pointers are of 64 bits.
	where := [2]uint32{uint32(uintptr(unsafe.Pointer(&ip[0]))), 4}
	errno := sockConnect(fd, unsafe.Pointer(&where), uint32(port))
	runtime.KeepAlive(ip)
	if errno != 0 {
		return nil, syscall.Errno(errno)
	}
	syscall.SetNonblock(int(fd), true)
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	return net.FileConn(file)
}

func main() {
	client := &http.Client{Transport: &http.Transport{DialContext: dial}}
	answer, err := client.Get(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	body, _ := io.ReadAll(answer.Body)
	fmt.Printf("%d %s\n", answer.StatusCode, body)
}
