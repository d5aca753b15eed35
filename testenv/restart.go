package testenv

import (
	"os/exec"
	"syscall"
	"testing"
)

// Restart ends the process, politely by SIGTERM or as a crash would by SIGKILL, runs it again on the
// same ports and returns when it is ready. It must not run along with another method of the Server.
func (s *Server) Restart(t testing.TB, end syscall.Signal) {
	t.Helper()
	if end == syscall.SIGTERM {
		if err := s.Stop(); err != nil {
			t.Fatalf("restart: %v", err)
		}
	} else {
		if err := s.cmd.Process.Signal(end); err != nil {
			t.Fatalf("restart: %v", err)
		}
		<-s.done
	}

	again := exec.Command(s.cmd.Path, s.cmd.Args[1:]...)
	again.Env, again.Stdout, again.Stderr = s.cmd.Env, s.log, s.log
	s.cmd = again
	if err := s.start(t.Context()); err != nil {
		t.Fatalf("restart: %v", err)
	}
}
