package scale

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/pion/dtls/v3"

	"ringcast/testenv"
	"ringcast/testenv/peer"
)

const (
	// joinRate is low enough that a core joins all at once, joinSpan long enough for some hundred samples.
	joinRate = 150
	joinSpan = 10 * time.Second
	// joiners bounds the peers that join at the same time.
	joiners = 32
)

// BenchmarkJoins makes viewers join a server in a process of its own, 150 a second for 10 s, with Chromium's offer.
// Run by itself, on a quiet machine:
//
//	go test -run '^$' -bench Joins -benchtime 1x ./testenv/scale
//
// It prints the server's CPU time for a join, by stage: the process's whole time, divided as a profile's samples are.
// The cryptography that no join can do without is measured beside it. Nothing is sent to the viewers. RINGCAST_BIN
// names another server to compare with.
func BenchmarkJoins(b *testing.B) {
	for b.Loop() {
		raw := cryptography(b)
		j := joinAll(b)
		raw = (raw + cryptography(b)) / 2
		j.print(raw)
		b.ReportMetric(j.each(j.cpu), "µs/join")
		b.ReportMetric(j.each(j.cpu)/(float64(raw)/float64(time.Microsecond)), "×cryptography")
	}
}

// cryptography measures one join's share of it on the server: a key agreement, a signature, and a verification.
func cryptography(b *testing.B) time.Duration {
	const rounds = 500
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	theirs, err := ecdh.X25519().GenerateKey(rand.Reader)
	must(err)
	digest := sha256.Sum256(nil)
	began := time.Now()
	for range rounds {
		ours, err := ecdh.X25519().GenerateKey(rand.Reader)
		must(err)
		_, err = ours.ECDH(theirs.PublicKey())
		must(err)
		signature, err := key.Sign(rand.Reader, digest[:], nil)
		must(err)
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
			b.Fatal("the signature does not verify")
		}
	}
	return time.Since(began) / rounds
}

// joined is the outcome of a run.
type joined struct {
	count int
	cpu   time.Duration // of the server
	// samples are a profile's, by stage; total is their sum.
	samples map[string]time.Duration
	total   time.Duration
}

func joinAll(b *testing.B) *joined {
	c := &crowd{
		server: testenv.StartServer(b, testenv.ServerOptions{Workers: 1, LogLevel: "error"}),
		web:    &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},

		profile: dtls.SRTP_AEAD_AES_128_GCM,
	}
	c.connect(b, "/whip/joins", "../../signaling/testdata/chromium-offer-sendonly.sdp")
	c.awaitStream(b)
	offer, err := os.ReadFile("../../signaling/testdata/chromium-offer-recvonly.sdp")
	if err != nil {
		b.Fatal(err)
	}
	profile := filepath.Join(b.TempDir(), "profile")
	before := c.server.Metrics(b)
	var profiling, joining sync.WaitGroup
	profiling.Go(func() {
		err = fetch(b.Context(), c.server, fmt.Sprintf("/debug/pprof/profile?seconds=%.0f", joinSpan.Seconds()),
			profile)
	})
	work := make(chan int)
	for range joiners {
		joining.Go(func() {
			for n := range work {
				// Each browser has a number of its own.
				text := strings.Replace(string(offer), "5474368280081314381", strconv.Itoa(1_000_000_000+n), 1)
				c.join(b, "/whep/joins", text)
			}
		})
	}
	tick := time.NewTicker(time.Second / joinRate)
	defer tick.Stop()
	j := &joined{}
	for end := time.Now().Add(joinSpan); time.Now().Before(end); j.count++ {
		<-tick.C
		work <- j.count
	}
	close(work)
	joining.Wait()
	profiling.Wait()
	if err != nil {
		b.Fatal(err)
	}
	const used = "process_cpu_seconds_total"
	j.cpu = time.Duration((c.server.Metrics(b)[used] - before[used]) * float64(time.Second))
	j.read(b, profile)
	return j
}

// join connects a viewer for good.
func (c *crowd) join(b *testing.B, path, offer string) {
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	p, err := peer.New(peer.Config{}, netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		b.Error(err)
		return
	}
	b.Cleanup(p.Close)
	local, _, err := p.Post(ctx, c.web, c.server.URL+path, offer)
	if err == nil {
		err = p.Connect(ctx, local)
	}
	if err != nil {
		b.Error(err)
	}
}

func fetch(ctx context.Context, s *testenv.Server, url, path string) error {
	res, err := s.Get(ctx, url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

// stages are the parts of a join. A sample belongs to the first stage that a function of its stack begins with.
var stages = []struct {
	name  string
	marks []string
}{
	{"garbage collection", []string{
		"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep",
		"runtime.bgscavenge", "runtime.gcStart", "runtime.gcMarkTermination",
	}},
	{"DTLS: key agreement", []string{"crypto/ecdh."}},
	{"DTLS: ECDSA", []string{"crypto/ecdsa."}},
	{"DTLS: keys and state", []string{
		"ringcast/engine/dtls.(*handshake).export", "ringcast/engine/dtls.(*handshake).settle",
		"ringcast/engine/dtls.(*secrets)", "github.com/pion/dtls/v3.(*State)",
	}},
	{"DTLS: pion's rest", []string{"github.com/pion/"}},
	{"DTLS: ours", []string{"ringcast/engine/dtls."}},
	{"SDP: offer", []string{
		"ringcast/signaling.parseOffer", "ringcast/signaling.(*shapes)", "ringcast/signaling.(*offer).for",
	}},
	{"SDP: answer", []string{"ringcast/signaling.(*offer).answer"}},
	{"HTTP", []string{"net/http.", "ringcast/signaling."}},
	{"controller", []string{"ringcast/engine.(*controller)"}},
	{"worker: keys", []string{"ringcast/engine/srtp."}},
	{"worker: ICE", []string{"ringcast/engine/stun.", "ringcast/engine/ufrag."}},
	{"worker", []string{"ringcast/engine.(*runner)"}},
	{"scheduler", []string{"runtime.mcall", "runtime.mstart", "runtime.sysmon", "runtime.morestack"}},
}

// sdpMark tells pion's package for SDP from the one for DTLS.
const sdpMark = "ringcast/signaling."

func stageOf(stack []string) string {
	inSDP := false
	for _, f := range stack {
		inSDP = inSDP || strings.HasPrefix(f, sdpMark)
	}
	for _, s := range stages {
		if inSDP && strings.HasPrefix(s.name, "DTLS") {
			continue
		}
		for _, mark := range s.marks {
			for _, f := range stack {
				if strings.HasPrefix(f, mark) {
					return s.name
				}
			}
		}
	}
	return "rest"
}

// read adds up a profile's samples by stage.
func (j *joined) read(b *testing.B, profile string) {
	text, err := exec.Command("go", "tool", "pprof", "-traces", profile).Output()
	if err != nil {
		b.Fatal(err)
	}
	j.samples = map[string]time.Duration{}
	// Each trace begins with its time and its innermost function, after a line of dashes.
	_, traces, _ := strings.Cut(string(text), "-----------+")
	for trace := range strings.SplitSeq(traces, "-----------+") {
		var stack []string
		var took time.Duration
		for i, line := range strings.Split(trace, "\n") {
			fields := strings.Fields(line)
			switch {
			case i == 0 || len(fields) == 0: // of the dashes
			case len(stack) == 0 && len(fields) > 1:
				if took, err = time.ParseDuration(fields[0]); err != nil {
					b.Fatalf("%q: %v", line, err)
				}
				stack = append(stack, fields[1])
			default:
				stack = append(stack, fields[0])
			}
		}
		j.samples[stageOf(stack)] += took
		j.total += took
	}
	if j.total == 0 {
		b.Fatal("the profile has no samples")
	}
}

// each is a join's part of a time, in microseconds.
func (j *joined) each(d time.Duration) float64 {
	return float64(d) / float64(j.count) / float64(time.Microsecond)
}

func (j *joined) print(raw time.Duration) {
	t := tabwriter.NewWriter(os.Stderr, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "stage\tµs a join\t\n")
	row := func(name string) {
		// The profile knows the proportions, the kernel the whole.
		fmt.Fprintf(t, "%s\t%.0f\t\n", name, j.each(j.cpu)*float64(j.samples[name])/float64(j.total))
	}
	for _, s := range stages {
		row(s.name)
	}
	row("rest")
	fmt.Fprintf(t, "all, of %d joins\t%.0f\t\n", j.count, j.each(j.cpu))
	fmt.Fprintf(t, "cryptography alone\t%.0f\t\n", float64(raw)/float64(time.Microsecond))
	_ = t.Flush()
}
