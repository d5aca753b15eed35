package host

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// Signs and their colours leave the columns where words have them.
func TestPrintAligns(t *testing.T) {
	r := machine()
	r.NIC.MTU, r.NIC.Driver = 9001, "ena"
	d := Choose(DefaultConfig(), "eth0", r)
	lines := func(marks Marks) []string {
		var out strings.Builder
		if err := Print(&out, r, d, marks); err != nil {
			t.Fatal(err)
		}
		return strings.Split(out.String(), "\n")
	}
	words, signs := lines(Words), lines(Signs)
	if len(words) != len(signs) {
		t.Fatalf("%d lines with words, %d with signs", len(words), len(signs))
	}
	colour := regexp.MustCompile("\x1b\\[[0-9]*m")
	for i, line := range signs {
		line = colour.ReplaceAllString(line, "")
		for sign, word := range map[string]string{"  ✓  ": "  yes  ", "  ✗  ": "  NO   ", "     ": "       "} {
			if rest, ok := strings.CutPrefix(line, sign); ok {
				line = word + rest
				break
			}
		}
		if line != words[i] {
			t.Errorf("%q\n%q", words[i], line)
		}
	}
	all := strings.Join(signs, "\n")
	for _, want := range []string{"\x1b[31m✗\x1b[0m  MTU", "\x1b[32m✓\x1b[0m  link"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
}

// The print of the doctor in docs/operations.md, of an EC2 instance, is the one that the doctor makes.
func TestDocumentedDoctor(t *testing.T) {
	content, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	r := machine()
	ena(&r)
	r.NIC.MTU, r.NIC.Queues.RX, r.NIC.Queues.TX = 9001, 4, 4
	var out strings.Builder
	if err := Print(&out, r, Choose(DefaultConfig(), "eth0", r), Words); err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(out.String(), "\nmachine\n")
	_, rungs, _ := strings.Cut(rest, "\nrungs\n")
	var want strings.Builder
	for line := range strings.Lines(head + "…\nrungs\n" + rungs) {
		if line != "\n" {
			line = "    " + line
		}
		want.WriteString(line)
	}
	if !strings.Contains(string(content), want.String()) {
		t.Errorf("docs/operations.md does not show the print of the doctor, want\n%s", &want)
	}
}

func TestPrintElsewhere(t *testing.T) {
	var out strings.Builder
	r := Report{OS: "plan9"}
	if err := Print(&out, r, Choose(DefaultConfig(), "", r), Words); err != nil {
		t.Fatal(err)
	}
	const want = `no interface: AF_XDP cannot be used, sockets would be

rungs
  NO   xdp-zerocopy  refused: system
  NO   xdp-copy      refused: system
  NO   xdp-generic   refused: system
  yes  udp           taken

system: AF_XDP needs Linux, this is plan9
  sockets serve on this one
`
	if out.String() != want {
		t.Errorf("got\n%s", &out)
	}
}
