package rtp

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// sets decodes sprop parameters from the form of SDP to that of Reset.
func sets(t testing.TB, sprop string) (announced string) {
	t.Helper()
	for item := range strings.SplitSeq(sprop, ",") {
		unit, err := base64.StdEncoding.DecodeString(item)
		if err != nil {
			t.Fatal(err)
		}
		announced += string(binary.BigEndian.AppendUint16(nil, uint16(len(unit)))) + string(unit)
	}
	return announced
}

// FFmpeg's sprop parameters of the recordings.
const (
	spropH264 = "Z0LACtoQmwEQAAADABAAAAMBSPEiag==,aM4DnIA="
	spropH265 = "QAEMAf//AWAAAAMAkAAAAwAAAwAeugJA,QgEBAWAAAAMAkAAAAwAAAwAeoCCBBZbpKTC8BaAgAAADACAAAAMBQQ==,RAHAcYES"
)

// spsH264 and ppsH264 make sets of an id; the texts tell versions apart.
func spsH264(id uint32, text string) string { return "\x67\x42\xc0\x0a" + golombs(id) + text }

func ppsH264(id, sps uint32, text string) string {
	return "\x68" + golombs(id, sps) + text
}

func vpsH265(id byte, text string) string { return "\x40\x01" + string([]byte{id<<4 | 0xC}) + text }
func spsH265(id uint32, vps byte, text string) string {
	return "\x42\x01" + string([]byte{vps<<4 | 1}) + "\x01\x60\x00\x00\x03\x00\x90\x00\x00\x03\x00\x00\x03\x00\x1e" +
		golombs(id) + text
}
func ppsH265(id, sps uint32, text string) string { return "\x44\x01" + golombs(id, sps) + text }

// golombs writes Exp-Golomb codes.
func golombs(values ...uint32) string {
	bits := ""
	for _, v := range values {
		code := ""
		for n := v + 1; n > 0; n >>= 1 {
			code = string(rune('0'+n&1)) + code
		}
		bits += strings.Repeat("0", len(code)-1) + code
	}
	bits += "1"
	var b []byte
	for len(bits) > 0 {
		part := (bits + "0000000")[:8]
		x := byte(0)
		for _, c := range part {
			x = x<<1 | byte(c-'0')
		}
		b = append(b, x)
		bits = bits[min(8, len(bits)):]
	}
	return string(b)
}

// missing are the units that did not come with the access unit.
func missing(s *ParameterSets) (units []string) {
	for unit, next := s.Missing(0); unit != nil; unit, next = s.Missing(next) {
		units = append(units, string(unit))
	}
	return units
}

// A step is an access unit of single NAL units; of a late one the number is lower than those before.
type step struct {
	number uint64
	units  []string
}

func TestParameterSets(t *testing.T) {
	for _, c := range []struct {
		name      string
		codec     Codec
		announced string
		steps     []step
		missing   []string // at an access unit without any
		complete  bool
	}{
		{"none", H264, "", nil, nil, false},
		{"SPS only", H264, "", []step{{1, []string{spsH264(0, "a")}}}, []string{spsH264(0, "a")}, false},
		{"PPS only", H264, "", []step{{1, []string{ppsH264(0, 0, "a")}}}, []string{ppsH264(0, 0, "a")}, false},
		{
			"in another order", H264, "",
			[]step{{1, []string{ppsH264(0, 0, "a"), spsH264(0, "a")}}},
			[]string{spsH264(0, "a"), ppsH264(0, 0, "a")},
			true,
		},
		{
			"several ids", H264, "",
			[]step{{1, []string{spsH264(0, "a"), spsH264(3, "b"), ppsH264(0, 0, "c"), ppsH264(200, 3, "d")}}},
			[]string{spsH264(0, "a"), spsH264(3, "b"), ppsH264(0, 0, "c"), ppsH264(200, 3, "d")},
			true,
		},
		{
			"repeated", H264, "",
			[]step{
				{1, []string{spsH264(0, "a"), ppsH264(0, 0, "a")}}, {9, []string{spsH264(0, "a"), ppsH264(0, 0, "a")}},
			},
			[]string{spsH264(0, "a"), ppsH264(0, 0, "a")},
			true,
		},
		{
			"a new picture set", H264, "",
			[]step{{1, []string{spsH264(0, "a"), ppsH264(0, 0, "a")}}, {2, []string{ppsH264(0, 0, "longer")}}},
			[]string{spsH264(0, "a"), ppsH264(0, 0, "longer")},
			true,
		},
		{
			"a new sequence set ends those that refer to it", H264, "",
			[]step{
				{1, []string{spsH264(0, "a"), spsH264(1, "b"), ppsH264(0, 0, "a"), ppsH264(1, 1, "b")}},
				{2, []string{spsH264(0, "c")}},
			},
			[]string{spsH264(1, "b"), spsH264(0, "c"), ppsH264(1, 1, "b")},
			true,
		},
		{
			"a new sequence set after its picture set", H264, "",
			[]step{
				{1, []string{spsH264(0, "a"), ppsH264(0, 0, "a")}}, {2, []string{ppsH264(0, 0, "c"), spsH264(0, "c")}},
			},
			[]string{spsH264(0, "c"), ppsH264(0, 0, "c")},
			true,
		},
		{
			"late ones change nothing", H264, "",
			[]step{
				{5, []string{spsH264(0, "new"), ppsH264(0, 0, "new")}},
				{2, []string{spsH264(0, "old"), ppsH264(0, 0, "old")}},
			},
			[]string{spsH264(0, "new"), ppsH264(0, 0, "new")},
			true,
		},
		{"announced", H264, sets(t, spropH264), nil, strings.Split(spropUnits(t, spropH264), "|"), true},
		{
			"announced and changed", H264, sets(t, spropH264),
			[]step{{0, []string{spsH264(0, "a"), ppsH264(0, 0, "a")}}},
			[]string{spsH264(0, "a"), ppsH264(0, 0, "a")},
			true,
		},
		{
			"malformed", H264, "\x00\x09\x67",
			[]step{{1, []string{"\x67", "\x67\x42\xc0\x0a", "\x68\x00\x00\x00", "\x67\x42\xc0\x0a\x02\x10"}}},
			nil,
			false,
		},
		{"too long", H264, "", []step{{1, []string{spsH264(0, strings.Repeat("x", maxSetBytes))}}}, nil, false},
		{"announced", H265, sets(t, spropH265), nil, strings.Split(spropUnits(t, spropH265), "|"), true},
		{
			"no video set", H265, "",
			[]step{{1, []string{spsH265(0, 0, "a"), ppsH265(0, 0, "a")}}},
			[]string{spsH265(0, 0, "a"), ppsH265(0, 0, "a")},
			false,
		},
		{
			"a new video set ends all below", H265, "",
			[]step{
				{
					1,
					[]string{
						vpsH265(0, "a"), vpsH265(1, "b"), spsH265(0, 0, "a"), spsH265(1, 1, "b"), ppsH265(0, 0, "a"),
						ppsH265(1, 1, "b"),
					},
				},
				{2, []string{vpsH265(0, "c")}},
			},
			[]string{vpsH265(1, "b"), vpsH265(0, "c"), spsH265(1, 1, "b"), ppsH265(1, 1, "b")},
			true,
		},
		{"of another layer", H265, "", []step{{1, []string{"\x41\x01\x0c\x01", "\x40\x09\x0c\x01"}}}, nil, false},
	} {
		t.Run(c.codec.String()+" "+c.name, func(t *testing.T) {
			var s ParameterSets
			s.Reset(c.codec, c.announced)
			for _, step := range c.steps {
				s.Begin()
				for i, unit := range step.units {
					s.Take([]byte(unit), step.number+uint64(i))
				}
			}
			s.Begin()
			if got := missing(&s); !slices.Equal(got, c.missing) {
				t.Errorf("missing %q; expected %q", got, c.missing)
			}
			if got := s.Complete(); got != c.complete {
				t.Errorf("complete: %v; expected %v", got, c.complete)
			}
			s.Sent()
			if got := missing(&s); got != nil {
				t.Errorf("missing %q after they were sent; expected none", got)
			}
		})
	}
}

// spropUnits are the units of sprop parameters, separated by bars.
func spropUnits(t testing.TB, sprop string) string {
	announced := []byte(sets(t, sprop))
	var units []string
	for len(announced) > 0 {
		n := int(binary.BigEndian.Uint16(announced))
		units = append(units, string(announced[2:2+n]))
		announced = announced[2+n:]
	}
	return strings.Join(units, "|")
}

// However many sets a publisher sends, a bounded number is kept, the latest, and they fit a packet.
func TestParameterSetsAreBounded(t *testing.T) {
	var s ParameterSets
	s.Reset(H264, "")
	for n := range uint32(400) {
		s.Begin()
		s.Take([]byte(ppsH264(n%256, n%32, strings.Repeat("x", int(n)))), uint64(n))
		s.Take([]byte(spsH264(n%32, strings.Repeat("y", int(n)))), uint64(n))
		if s.num > maxSets || s.used > maxSetBytes {
			t.Fatalf("%d sets of %d bytes; expected %d and %d at most", s.num, s.used, maxSets, maxSetBytes)
		}
		s.Begin()
		if got := missing(&s); len(got) == 0 || got[0][:4] != "\x67\x42\xc0\x0a" {
			t.Fatalf("after %d: %q; expected the latest", n, got)
		}
		if p := s.Aggregate(nil); len(p) > MaxSetsPayload {
			t.Fatalf("a payload of %d bytes; expected %d at most", len(p), MaxSetsPayload)
		}
	}
}

// Sets are found in aggregation packets, and aggregated again they are the same.
func TestAggregate(t *testing.T) {
	for _, c := range []struct {
		codec  Codec
		units  []string
		header string
	}{
		{H264, []string{spsH264(0, "a"), ppsH264(0, 0, "b")}, "\x78"},
		{H264, []string{"\x27\x42\xc0\x0a" + golombs(0), "\x48" + golombs(0, 0)}, "\x58"},
		{H265, []string{vpsH265(0, "a"), spsH265(0, 0, "b"), ppsH265(0, 0, "c")}, "\x60\x01"},
	} {
		payload := c.header
		for _, u := range c.units {
			payload += string([]byte{0, byte(len(u))}) + u
		}
		var s ParameterSets
		s.Reset(c.codec, "")
		s.TakeStray([]byte(payload), 1)
		if got := missing(&s); !slices.Equal(got, c.units) {
			t.Errorf("%v: read %q; expected %q", c.codec, got, c.units)
		}
		if got := string(s.Aggregate([]byte("before"))); got != "before"+payload {
			t.Errorf("%v: aggregated as %x; expected %x", c.codec, got[6:], payload)
		}
		last := c.units[len(c.units)-1]
		s.Sent()
		s.keep(setID{2, 9, 0}, []byte(last), 2, false)
		if got := string(s.Aggregate(nil)); got != last {
			t.Errorf("%v: one alone is %x; expected %x", c.codec, got, last)
		}
	}
}

// A set that came with an access unit is not missing in it, even if it is another set of that id again.
func TestMissingIsOfOneAccessUnit(t *testing.T) {
	sps, pps := spsH264(0, "a"), ppsH264(0, 0, "b")
	var s ParameterSets
	s.Reset(H264, "")
	for _, c := range []struct {
		unit    string
		current bool
		want    []string
	}{
		{sps, true, nil},
		{pps, true, nil},
		{"", false, []string{sps, pps}},
		{sps, false, []string{sps, pps}}, // late, of the access unit before
		{pps, true, []string{sps}},
	} {
		if c.unit != pps || len(c.want) == 0 {
			s.Begin()
		}
		take := s.TakeStray
		if c.current {
			take = s.Take
		}
		take([]byte(c.unit), 1)
		if c.unit == pps && len(c.want) == 0 {
			s.Take([]byte(sps), 1)
		}
		if got := missing(&s); !slices.Equal(got, c.want) {
			t.Errorf("after %x: missing %x; expected %x", c.unit, got, c.want)
		}
	}
}

// Sets that claim more than they have, and many of them in one packet, cost less than reading the packet bit by bit. So
// no forged packet costs much more than another. Both times are the best of many, measured in turns.
func TestForgedSetsAreCheap(t *testing.T) {
	// Seven sub-layers whose profiles and levels, 84 bytes, are announced and missing.
	unit := "\x42\x01\x0e" + strings.Repeat("\x01", 12) + "\xff\xff\xff\x01"
	payload := []byte("\x60\x01" + strings.Repeat("\x00"+string([]byte{byte(len(unit))})+unit, 64))
	var s ParameterSets
	s.Reset(H265, "")
	got := time.Duration(math.MaxInt64)
	want := got
	for range 200 {
		start := time.Now()
		s.Take(payload, 1)
		got = min(got, time.Since(start))

		start = time.Now()
		r := bitReader{rest: payload}
		for !r.bad {
			r.bits(1)
		}
		want = min(want, time.Since(start))
	}
	t.Logf("%v for a packet of %d bytes; %v to read its bits", got, len(payload), want)
	if got > want {
		t.Errorf("%v for a packet of %d bytes; expected at most %v, as long as its bits take", got, len(payload), want)
	}
}

// skip leaves a reader where as many single bits leave it, emulation prevention and the end included.
func TestSkip(t *testing.T) {
	data := []byte("\x47\x00\x00\x03\x01\x9a\x00\x00\x03\x00\x00\x03\x00\x5c\xe1")
	for before := range 20 {
		for n := range 8*len(data) + 9 {
			a, b := bitReader{rest: data}, bitReader{rest: data}
			a.bits(before)
			b.bits(before)
			a.skip(n)
			for range n {
				b.bits(1)
			}
			got, want := a.bits(5), b.bits(5)
			if a.bad != b.bad || !a.bad && got != want {
				t.Errorf("%d bits, then %d skipped: %05b, bad %v; expected %05b, bad %v", before, n, got, a.bad, want,
					b.bad)
			}
		}
	}
}

// A packet of many tiny units costs no more than one of a few.
func TestUnitsOfOnePacketAreBounded(t *testing.T) {
	payload := []byte("\x78")
	for id := range uint32(maxUnits + 20) {
		u := ppsH264(id, 0, "")
		payload = append(append(payload, 0, byte(len(u))), u...)
	}
	var s ParameterSets
	s.Reset(H264, "")
	s.Take(payload, 1)
	s.Begin()
	got := missing(&s)
	if want := ppsH264(maxUnits-1, 0, ""); len(got) != maxSets || got[maxSets-1] != want {
		t.Errorf("%d sets, the last %x; expected %d, the last %x", len(got), got[len(got)-1], maxSets, want)
	}
}

func TestParameterSetsAllocateNothing(t *testing.T) {
	var s ParameterSets
	s.Reset(H265, "")
	b := make([]byte, 0, MaxSetsPayload)
	payload := []byte(vpsH265(0, "a"))
	other := []byte(vpsH265(0, "longer"))
	if n := testing.AllocsPerRun(100, func() {
		s.Begin()
		s.Take(payload, 1)
		s.Take(other, 1)
		s.Begin()
		b = s.Aggregate(b[:0])
		s.Sent()
	}); n != 0 {
		t.Errorf("%v allocations; expected none", n)
	}
}

// FuzzParameterSets takes in any packets and looks for panics, sets beyond the bounds and aggregation packets that
// do not read back.
func FuzzParameterSets(f *testing.F) {
	for _, r := range recordings {
		for i, p := range recorded(f, r.name) {
			if i < 12 {
				f.Add(p[HeaderLen:], uint64(i))
			}
		}
	}
	f.Add([]byte("\x78"+sets(f, spropH264)), uint64(0))
	f.Add([]byte("\x60\x01"+sets(f, spropH265)), uint64(0))
	f.Fuzz(func(t *testing.T, data []byte, number uint64) {
		for _, c := range []Codec{H264, H265} {
			var s ParameterSets
			s.Reset(c, string(data))
			s.TakeStray(data, number)
			for rest := data; len(rest) > 0; rest = rest[min(len(rest), 40):] {
				s.Begin()
				take := s.TakeStray
				if len(rest)%2 == 0 {
					take = s.Take
				}
				take(rest, number+uint64(len(rest)))
			}
			s.Begin()
			all := missing(&s)
			size := 0
			for _, u := range all {
				size += len(u)
			}
			if len(all) > maxSets || size > maxSetBytes || size != s.used {
				t.Fatalf("%d sets of %d bytes, %d used", len(all), size, s.used)
			}
			p := s.Aggregate(nil)
			if len(p) > MaxSetsPayload {
				t.Fatalf("a payload of %d bytes", len(p))
			}
			var again ParameterSets
			again.Reset(c, "")
			again.TakeStray(bytes.Clone(p), 1)
			if got := missing(&again); !slices.Equal(got, all) {
				t.Fatalf("%v: %x reads back as %x", c, all, got)
			}
		}
	})
}
