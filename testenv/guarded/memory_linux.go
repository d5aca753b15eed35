package guarded

import (
	"os"
	"syscall"
	"testing"
)

// Memory is n bytes between two pages that nothing may touch: at the start of the memory between them, and at its end.
// The test frees it at its own end.
func Memory(t testing.TB, n int) (start, end []byte) {
	t.Helper()
	page := os.Getpagesize()
	middle := (n + page - 1) / page * page
	memory, err := syscall.Mmap(-1, 0, middle+2*page, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Munmap(memory) })
	for _, guard := range [][]byte{memory[:page], memory[page+middle:]} {
		if err := syscall.Mprotect(guard, syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	inside := memory[page : page+middle]
	return inside[:n:n], inside[middle-n:]
}
