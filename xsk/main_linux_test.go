package xsk

import (
	"testing"

	"go.uber.org/goleak"

	"ringcast/testenv/lab"
)

func TestMain(m *testing.M) {
	lab.Child()
	goleak.VerifyTestMain(m)
}
