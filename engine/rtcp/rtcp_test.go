package rtcp

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"

	pion "github.com/pion/rtcp"
)

var testBlock = ReportBlock{
	SSRC: 0x11223344, FractionLost: 255, Lost: -5, Highest: 0xABCD1234, Jitter: 77, LastSR: 0x89ABCDEF, Delay: 65536,
}

func blocks(n int) []ReportBlock {
	out := make([]ReportBlock, n)
	for i := range out {
		out[i] = testBlock
		out[i].SSRC += uint32(i)
		out[i].Lost = int32(i) - 3
	}
	return out
}

// marshal is pion's encoding of packets.
func marshal(t testing.TB, packets ...pion.Packet) []byte {
	t.Helper()
	data, err := pion.Marshal(packets)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// unmarshal reads data, which we made, with pion.
func unmarshal(t testing.TB, data []byte) []pion.Packet {
	t.Helper()
	if len(data)%4 != 0 {
		t.Fatalf("%d bytes", len(data))
	}
	packets, err := pion.Unmarshal(data)
	if err != nil {
		t.Fatal(err)
	}
	return packets
}

// one reads the only packet of data.
func one(t testing.TB, data []byte) Packet {
	t.Helper()
	r := NewReader(data)
	var p, q Packet
	if !r.Next(&p) || r.Next(&q) || r.Malformed() {
		t.Fatalf("not one packet: %x", data)
	}
	return p
}

func collectBlocks(p *Packet) (out []ReportBlock) {
	it := p.Blocks()
	for b := (ReportBlock{}); it.Next(&b); {
		out = append(out, b)
	}
	return out
}

func collectNACKs(p *Packet) (out []uint16) {
	it := p.NACKs()
	for seq, ok := it.Next(); ok; seq, ok = it.Next() {
		out = append(out, seq)
	}
	return out
}

func collectSources(p *Packet) (out []uint32) {
	it := p.Sources()
	for ssrc, ok := it.Next(); ok; ssrc, ok = it.Next() {
		out = append(out, ssrc)
	}
	return out
}

func fromPion(r pion.ReceptionReport) ReportBlock {
	return ReportBlock{
		SSRC: r.SSRC, FractionLost: r.FractionLost, Lost: int32(r.TotalLost<<8) >> 8, Highest: r.LastSequenceNumber,
		Jitter: r.Jitter, LastSR: r.LastSenderReport, Delay: r.Delay,
	}
}

func TestAppendSenderReport(t *testing.T) {
	info := SenderInfo{NTP: 0xE1E2E3E4F1F2F3F4, RTP: 0xC0FFEE00, Packets: 12, Octets: math.MaxUint32}
	data := AppendSenderReport(nil, 7, info)
	p := one(t, data)
	if got, ok := p.SenderInfo(); p.Type != SR || p.SSRC != 7 || !ok || got != info || len(collectBlocks(&p)) != 0 {
		t.Errorf("read %+v, %+v", p, got)
	}
	sr := unmarshal(t, data)[0].(*pion.SenderReport)
	if sr.SSRC != 7 || sr.NTPTime != info.NTP || sr.RTPTime != info.RTP || sr.PacketCount != 12 ||
		sr.OctetCount != math.MaxUint32 {
		t.Errorf("pion read %+v", sr)
	}
}

func TestAppendReceiverReport(t *testing.T) {
	for _, n := range []int{0, 1, 2, 31, 32, 62, 70} {
		want := blocks(n)
		data := AppendReceiverReport([]byte("...."), 7, want)[4:]
		var got []ReportBlock
		r := NewReader(data)
		packets := 0
		for p := (Packet{}); r.Next(&p); packets++ {
			if p.Type != RR || p.SSRC != 7 {
				t.Errorf("%d blocks: read %+v", n, p)
			}
			got = append(got, collectBlocks(&p)...)
		}
		if r.Malformed() || packets != max(1, (n+30)/31) || len(got) != n || n > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("%d blocks: %d packets, read %+v", n, packets, got)
		}
		i := 0
		for _, p := range unmarshal(t, data) {
			for _, b := range p.(*pion.ReceiverReport).Reports {
				if fromPion(b) != want[i] {
					t.Errorf("%d blocks: pion read %+v", n, b)
				}
				i++
			}
		}
		if i != n {
			t.Errorf("%d blocks: pion read %d", n, i)
		}
	}
}

func TestLostRange(t *testing.T) {
	for _, c := range []struct{ lost, want int32 }{
		{0, 0},
		{-1, -1},
		{1<<23 - 1, 1<<23 - 1},
		{1 << 23, 1<<23 - 1},
		{math.MaxInt32, 1<<23 - 1},
		{-1 << 23, -1 << 23},
		{-1<<23 - 1, -1 << 23},
		{math.MinInt32, -1 << 23},
	} {
		p := one(t, AppendReceiverReport(nil, 1, []ReportBlock{{FractionLost: 9, Lost: c.lost}}))
		if got := collectBlocks(&p)[0]; got.Lost != c.want || got.FractionLost != 9 {
			t.Errorf("%d: read %+v", c.lost, got)
		}
	}
}

func TestAppendSDES(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 4, 5, 16, 254, 255, 256, 1000} {
		cname := strings.Repeat("n", n)
		data := AppendSDES(nil, 9, cname)
		if p := one(t, data); p.Type != SDES || p.SSRC != 9 {
			t.Errorf("%d: read %+v", n, p)
		}
		chunks := unmarshal(t, data)[0].(*pion.SourceDescription).Chunks
		want := cname[:min(n, 255)]
		if len(chunks) != 1 || chunks[0].Source != 9 || len(chunks[0].Items) != 1 ||
			chunks[0].Items[0].Type != pion.SDESCNAME || chunks[0].Items[0].Text != want {
			t.Errorf("%d: pion read %+v", n, chunks)
		}
	}
}

func TestAppendBye(t *testing.T) {
	for _, n := range []int{0, 1, 2, 31, 32, 63} {
		var want []uint32
		for i := range n {
			want = append(want, uint32(i*i))
		}
		data := AppendBye(nil, want...)
		if n == 0 {
			if len(data) != 0 {
				t.Errorf("no sources: %x", data)
			}
			continue
		}
		var got, pions []uint32
		r := NewReader(data)
		for p := (Packet{}); r.Next(&p); {
			if p.Type != BYE {
				t.Errorf("read %+v", p)
			}
			got = append(got, collectSources(&p)...)
		}
		for _, p := range unmarshal(t, data) {
			pions = append(pions, p.(*pion.Goodbye).Sources...)
		}
		if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(pions, want) {
			t.Errorf("%d: read %v, pion %v", n, got, pions)
		}
	}
}

func TestAppendKeyframeRequests(t *testing.T) {
	data := AppendPLI(nil, 1, 2)
	if p := one(t, data); p.Type != PLI || p.SSRC != 1 || p.Media != 2 {
		t.Errorf("read %+v", p)
	}
	if pli := unmarshal(t, data)[0].(*pion.PictureLossIndication); pli.SenderSSRC != 1 || pli.MediaSSRC != 2 {
		t.Errorf("pion read %+v", pli)
	}
	data = AppendFIR(nil, 1, 2, 200)
	p := one(t, data)
	it := p.FIRs()
	ssrc, command, ok := it.Next()
	if _, _, more := it.Next(); p.Type != FIR || p.SSRC != 1 || ssrc != 2 || command != 200 || !ok || more {
		t.Errorf("read %+v, %d, %d", p, ssrc, command)
	}
	fir := unmarshal(t, data)[0].(*pion.FullIntraRequest)
	if fir.SenderSSRC != 1 || len(fir.FIR) != 1 || fir.FIR[0] != (pion.FIREntry{SSRC: 2, SequenceNumber: 200}) {
		t.Errorf("pion read %+v", fir)
	}
}

func TestAppendNACK(t *testing.T) {
	long := []uint16{}
	for i := range 500 {
		long = append(long, uint16(65300+i*i/100))
	}
	for _, c := range []struct {
		name  string
		seqs  []uint16
		pairs int
		want  []uint16 // nil: the same
	}{
		{"none", nil, 0, []uint16{}},
		{"one", []uint16{5}, 1, nil},
		{"a full entry", []uint16{5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21}, 1, nil},
		{"one more", []uint16{5, 21, 22}, 2, nil},
		{"far apart", []uint16{5, 300, 40000}, 3, nil},
		{"around zero", []uint16{65534, 65535, 0, 1, 14}, 1, nil},
		{"entry ends at zero", []uint16{65519, 65535, 0}, 2, nil},
		{"twice", []uint16{5, 5, 6, 6}, 1, []uint16{5, 6}},
		{"many", long, -1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := AppendNACK([]byte("...."), 1, 2, c.seqs)[4:]
			if len(c.seqs) == 0 {
				if len(data) != 0 {
					t.Errorf("%x", data)
				}
				return
			}
			want := c.want
			if want == nil {
				want = dedupe(c.seqs)
			}
			p := one(t, data)
			if got := collectNACKs(&p); p.Type != NACK || p.SSRC != 1 || p.Media != 2 || !reflect.DeepEqual(got, want) {
				t.Errorf("read %+v, %v", p, got)
			}
			nack := unmarshal(t, data)[0].(*pion.TransportLayerNack)
			var got []uint16
			for _, pair := range nack.Nacks {
				got = append(got, pair.PacketList()...)
			}
			if nack.SenderSSRC != 1 || nack.MediaSSRC != 2 || !reflect.DeepEqual(got, want) {
				t.Errorf("pion read %+v", nack)
			}
			if c.pairs >= 0 && len(nack.Nacks) != c.pairs {
				t.Errorf("%d entries", len(nack.Nacks))
			}
		})
	}
}

func dedupe(seqs []uint16) (out []uint16) {
	for i, seq := range seqs {
		if i == 0 || seq != seqs[i-1] {
			out = append(out, seq)
		}
	}
	return out
}

func TestREMB(t *testing.T) {
	for _, bps := range []float32{0, 1, 1000, 262143, 262144, 2.5e6, 1e9} {
		data := marshal(t, &pion.ReceiverEstimatedMaximumBitrate{SenderSSRC: 1, Bitrate: bps, SSRCs: []uint32{8, 9}})
		p := one(t, data)
		got, ok := p.Bitrate()
		if p.Type != REMB || p.SSRC != 1 || !ok || math.Abs(float64(got)-float64(bps)) > float64(bps)/1e5 {
			t.Errorf("%v: read %+v, %d", bps, p, got)
		}
		if s := collectSources(&p); !reflect.DeepEqual(s, []uint32{8, 9}) {
			t.Errorf("sources %v", s)
		}
		if ours := AppendREMB(nil, 1, uint64(bps), 8, 9); !bytes.Equal(ours, data) {
			t.Errorf("%v: appended % x, want % x", bps, ours, data)
		}
	}
	top := one(t, AppendREMB(nil, 1, math.MaxUint64))
	if got, ok := top.Bitrate(); !ok || got != math.MaxUint64>>46<<46 {
		t.Errorf("the largest estimate: read %d", got)
	}
	for _, c := range []struct {
		field string
		want  uint64
	}{
		{"\x00\x00\x01", 1},
		{"\x03\xff\xff", 1<<18 - 1},
		{"\xb8\x00\x01", 1 << 46},
		{"\xbb\xff\xff", (1<<18 - 1) << 46},
		{"\xbf\xff\xff", math.MaxUint64},
		{"\xff\xff\xff", math.MaxUint64},
		{"\xfc\x00\x01", 1 << 63},
		{"\xfc\x00\x02", math.MaxUint64},
		{"\xfc\x00\x00", 0},
	} {
		p := one(t, []byte("\x8f\xce\x00\x04\x00\x00\x00\x01\x00\x00\x00\x00REMB\x00"+c.field))
		if got, ok := p.Bitrate(); got != c.want || !ok {
			t.Errorf("%x: %d", c.field, got)
		}
	}
}

// TestTypes reads pion's encoding of every type in one compound.
func TestTypes(t *testing.T) {
	report := pion.ReceptionReport{
		SSRC: 5, FractionLost: 1, TotalLost: 0xFFFFFE, LastSequenceNumber: 9, Jitter: 3, LastSenderReport: 4, Delay: 6,
	}
	data := marshal(t,
		&pion.SenderReport{
			SSRC: 1, NTPTime: 2, RTPTime: 3, PacketCount: 4, OctetCount: 5,
			Reports: []pion.ReceptionReport{report, report},
		},
		&pion.ReceiverReport{SSRC: 1, Reports: []pion.ReceptionReport{report}, ProfileExtensions: []byte{1, 2, 3, 4}},
		pion.NewCNAMESourceDescription(6, "cname"),
		&pion.Goodbye{Sources: []uint32{7, 8}, Reason: "enough"},
		&pion.ApplicationDefined{SSRC: 1, Name: "test", Data: []byte("data")},
		&pion.TransportLayerNack{
			SenderSSRC: 1, MediaSSRC: 2, Nacks: []pion.NackPair{{PacketID: 65535, LostPackets: 0x8001}, {PacketID: 3}},
		},
		&pion.TransportLayerCC{
			Header: pion.Header{
				Padding: true, Count: pion.FormatTCC, Type: pion.TypeTransportSpecificFeedback, Length: 5,
			},
			SenderSSRC: 1, MediaSSRC: 2, BaseSequenceNumber: 3, PacketStatusCount: 1,
			PacketChunks: []pion.PacketStatusChunk{&pion.RunLengthChunk{PacketStatusSymbol: 1, RunLength: 1}},
			RecvDeltas:   []*pion.RecvDelta{{Type: pion.TypeTCCPacketReceivedSmallDelta, Delta: 250}},
		},
		&pion.PictureLossIndication{SenderSSRC: 1, MediaSSRC: 2},
		&pion.FullIntraRequest{
			SenderSSRC: 1, FIR: []pion.FIREntry{{SSRC: 2, SequenceNumber: 3}, {SSRC: 4, SequenceNumber: 5}},
		},
		&pion.ReceiverEstimatedMaximumBitrate{SenderSSRC: 1, Bitrate: 1000},
		&pion.ExtendedReport{
			SenderSSRC: 1, Reports: []pion.ReportBlock{&pion.ReceiverReferenceTimeReportBlock{NTPTimestamp: 9}},
		},
		&pion.SliceLossIndication{SenderSSRC: 1, MediaSSRC: 2, SLI: []pion.SLIEntry{{First: 1, Number: 2, Picture: 3}}},
		&pion.RapidResynchronizationRequest{SenderSSRC: 1, MediaSSRC: 2},
	)
	want := []Type{SR, RR, SDES, BYE, APP, NACK, TransportCC, PLI, FIR, REMB, XR, Unknown, Unknown}
	senders := []uint32{1, 1, 6, 7, 1, 1, 1, 1, 1, 1, 1, 1, 1}
	media := []uint32{0, 0, 0, 0, 0, 2, 2, 2, 0, 0, 0, 2, 2}
	r := NewReader(data)
	n := 0
	for p := (Packet{}); r.Next(&p); n++ {
		if n == len(want) {
			t.Fatal("too many packets")
		}
		if p.Type != want[n] || p.SSRC != senders[n] || p.Media != media[n] {
			t.Errorf("packet %d: %v of %d about %d, want %v", n, p.Type, p.SSRC, p.Media, want[n])
		}
		// Fields of other types give nothing.
		if _, ok := p.SenderInfo(); ok != (p.Type == SR) {
			t.Errorf("%v: sender info", p.Type)
		}
		if _, ok := p.Bitrate(); ok != (p.Type == REMB) {
			t.Errorf("%v: bitrate", p.Type)
		}
		if got := len(collectBlocks(&p)); got != map[Type]int{SR: 2, RR: 1}[p.Type] {
			t.Errorf("%v: %d blocks", p.Type, got)
		}
		if got := collectNACKs(&p); p.Type != NACK && got != nil || p.Type == NACK &&
			!reflect.DeepEqual(got, []uint16{65535, 0, 15, 3}) {
			t.Errorf("%v: NACKs %v", p.Type, got)
		}
		firs := p.FIRs()
		if _, _, ok := firs.Next(); ok != (p.Type == FIR) {
			t.Errorf("%v: FIRs", p.Type)
		}
		if got := collectSources(&p); p.Type != BYE && got != nil || p.Type == BYE &&
			!reflect.DeepEqual(got, []uint32{7, 8}) {
			t.Errorf("%v: sources %v", p.Type, got)
		}
	}
	if n != len(want) || r.Malformed() {
		t.Errorf("%d packets, malformed: %v", n, r.Malformed())
	}
}

func TestMalformed(t *testing.T) {
	for _, c := range []struct {
		name      string
		data      string
		packets   int
		malformed bool
	}{
		{"nothing", "", 0, false},
		{"header cut short", "\x80\xc9\x00", 0, true},
		{"version 1", "\x40\xc9\x00\x01\x00\x00\x00\x01", 0, true},
		{"longer than data", "\x80\xc9\x00\x02\x00\x00\x00\x01", 0, true},
		{"second is garbage", "\x80\xc9\x00\x01\x00\x00\x00\x01\x00", 1, true},
		{"second is cut short", "\x80\xc9\x00\x01\x00\x00\x00\x01\x81\xce\x00\x02\x00\x00\x00\x01", 1, true},
		{"reduced size", "\x81\xce\x00\x02\x00\x00\x00\x01\x00\x00\x00\x02", 1, false},
		{"RR without sender", "\x80\xc9\x00\x00", 0, true},
		{"RR without its block", "\x81\xc9\x00\x01\x00\x00\x00\x01", 0, true},
		{"SR without info", "\x80\xc8\x00\x01\x00\x00\x00\x01", 0, true},
		{"BYE without its source", "\x81\xcb\x00\x00", 0, true},
		{"BYE of nobody", "\x80\xcb\x00\x00", 1, false},
		{"SDES of nobody", "\x80\xca\x00\x00", 1, false},
		{"SDES without its source", "\x81\xca\x00\x00", 0, true},
		{"APP without name", "\x80\xcc\x00\x01\x00\x00\x00\x01", 0, true},
		{"XR without sender", "\x80\xcf\x00\x00", 0, true},
		{"PLI without media", "\x81\xce\x00\x01\x00\x00\x00\x01", 0, true},
		{"FIR with half an entry", "\x84\xce\x00\x03\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02", 0, true},
		{"NACK without entries", "\x81\xcd\x00\x02\x00\x00\x00\x01\x00\x00\x00\x02", 1, false},
		{"TWCC without its fields", "\x8f\xcd\x00\x03\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00", 0, true},
		{"REMB without its source", "\x8f\xce\x00\x04\x00\x00\x00\x01\x00\x00\x00\x00REMB\x01\x00\x00\x00", 0, true},
		{"another application's", "\x8f\xce\x00\x04\x00\x00\x00\x01\x00\x00\x00\x00GOOG\x01\x00\x00\x00", 1, false},
		{"unknown type", "\x80\xd0\x00\x00", 1, false},
		{"padding", "\xa0\xc9\x00\x02\x00\x00\x00\x01\x00\x00\x00\x04", 1, false},
		{"padding of 0", "\xa0\xc9\x00\x02\x00\x00\x00\x01\x00\x00\x00\x00", 0, true},
		{
			"padding not in words, as libwebrtc has it",
			"\xaf\xcd\x00\x05\x00\x00\x00\x01\x00\x00\x00\x02\x00\x03\x00\x01\x00\x00\x00\x00\x20\x01\x01\x01", 1,
			false,
		},
		{"padding cuts into a block", "\xa1\xc9\x00\x07" + strings.Repeat("\x01", 28), 0, true},
		{"padding over the sender", "\xa0\xc9\x00\x02\x00\x00\x00\x01\x00\x00\x00\x08", 0, true},
		{"padding over the header", "\xa0\xd0\x00\x02\x00\x00\x00\x01\x00\x00\x00\x0c", 0, true},
		{"padding of nothing", "\xa0\xd0\x00\x00", 0, true},
	} {
		r := NewReader([]byte(c.data))
		n := 0
		for p := (Packet{}); r.Next(&p); {
			n++
		}
		if n != c.packets || r.Malformed() != c.malformed {
			t.Errorf("%s: %d packets, malformed: %v", c.name, n, r.Malformed())
		}
		if r.Next(&Packet{}) {
			t.Errorf("%s: went on", c.name)
		}
	}
}

func TestAllocations(t *testing.T) {
	buffer := make([]byte, 0, 1500)
	reports, seqs, leaving := blocks(3), []uint16{1, 2, 30, 400}, []uint32{1, 2, 3}
	var data []byte
	build := func() {
		b := AppendSenderReport(buffer, 1, SenderInfo{NTP: 1})
		b = AppendReceiverReport(b, 1, reports)
		b = AppendSDES(b, 1, "cname")
		b = AppendPLI(b, 1, 2)
		b = AppendFIR(b, 1, 2, 3)
		b = AppendNACK(b, 1, 2, seqs)
		data = AppendBye(b, leaving...)
	}
	if n := testing.AllocsPerRun(100, build); n != 0 {
		t.Errorf("append: %v allocations", n)
	}
	total := 0
	read := func() {
		r := NewReader(data)
		for p := (Packet{}); r.Next(&p); {
			total += walk(&p)
		}
	}
	if n := testing.AllocsPerRun(100, read); n != 0 {
		t.Errorf("read: %v allocations", n)
	}
	if total == 0 {
		t.Error("read nothing")
	}
}

// walk calls everything that a packet offers and counts the results.
func walk(p *Packet) int {
	n := len(p.Body())
	if _, ok := p.SenderInfo(); ok {
		n++
	}
	if _, ok := p.Bitrate(); ok {
		n++
	}
	blocks, nacks, firs, sources := p.Blocks(), p.NACKs(), p.FIRs(), p.Sources()
	for b := (ReportBlock{}); blocks.Next(&b); n++ {
	}
	for _, ok := nacks.Next(); ok; _, ok = nacks.Next() {
		n++
	}
	for _, _, ok := firs.Next(); ok; _, _, ok = firs.Next() {
		n++
	}
	for _, ok := sources.Next(); ok; _, ok = sources.Next() {
		n++
	}
	return n
}

// FuzzReader checks that walks end, and that we read all that pion can read likewise.
func FuzzReader(f *testing.F) {
	f.Add(AppendSDES(AppendSenderReport(nil, 1, SenderInfo{NTP: 5}), 1, "cname"))
	f.Add(AppendNACK(AppendReceiverReport(nil, 1, blocks(2)), 1, 2, []uint16{65535, 0, 40}))
	f.Add(AppendFIR(AppendPLI(nil, 1, 2), 1, 2, 3))
	f.Add(AppendBye(nil, 1, 2, 3))
	f.Add([]byte("\x8f\xce\x00\x05\x00\x00\x00\x01\x00\x00\x00\x00REMB\x01\x0b\x00\x05\x00\x00\x00\x07"))
	f.Add([]byte("\xa0\xc9\x00\x02\x00\x00\x00\x01\x00\x00\x00\x04"))
	f.Add([]byte("\xaf\xcd\x00\x05\x00\x00\x00\x01\x00\x00\x00\x02\x00\x03\x00\x01\x00\x00\x00\x00\x20\x01\x01\x01"))
	f.Add(AppendLossElsewhere(nil, 1, 2, []uint16{65535, 0, 40}))
	f.Fuzz(agree)
}

// TestKinds checks the same for each kind of packet: each type, each format or count, and a few lengths.
func TestKinds(t *testing.T) {
	const most = 32 // words after the header
	for _, filling := range []string{"\x00\x00\x00\x00", "REMB", "\x81\x02\x83\x04", "\x01\x00\x00\x00"} {
		body := []byte(strings.Repeat(filling, most))
		for wire := 192; wire <= 223; wire++ {
			for count := range 32 {
				for words := range most + 1 {
					head := []byte{0x80 | byte(count), byte(wire), 0, byte(words)}
					agree(t, append(head, body[:4*words]...))
				}
			}
		}
	}
}

// agree reads data with pion too.
func agree(t *testing.T, data []byte) {
	t.Helper()
	before := bytes.Clone(data)
	var got []Packet
	r := NewReader(data)
	for p := (Packet{}); r.Next(&p); {
		if walk(&p) > 17*len(data) || len(got) > len(data)/4 {
			t.Fatal("more than there is")
		}
		got = append(got, p)
	}
	if !bytes.Equal(before, data) {
		t.Fatal("input changed")
	}
	packets, err := pion.Unmarshal(data)
	if err != nil {
		return
	}
	for i, p := range packets {
		// pion reads padding as content, and takes feedback without sources for raw bytes.
		if i == len(got) {
			rest := len(data)
			for _, q := range got {
				rest -= 4 + len(q.body)
			}
			head := data[len(data)-rest:]
			_, raw := p.(*pion.RawPacket)
			if head[0]&0x20 == 0 && !raw {
				t.Fatalf("packet %d: pion read %T %+v", i, p, p)
			}
			return
		}
		if i < len(got) && padded(data, i) {
			return
		}
		compare(t, &got[i], p)
	}
	if len(got) != len(packets) || r.Malformed() {
		t.Fatalf("%d packets, pion %d", len(got), len(packets))
	}
}

// padded reports whether packet i of a compound that can be read has its P bit set.
func padded(data []byte, i int) bool {
	for ; i > 0; i-- {
		data = data[4+4*(int(data[2])<<8|int(data[3])):]
	}
	return data[0]&0x20 != 0
}

func compare(t *testing.T, p *Packet, q pion.Packet) {
	t.Helper()
	same := true
	switch q := q.(type) {
	case *pion.SenderReport:
		info, ok := p.SenderInfo()
		same = ok && p.SSRC == q.SSRC && info == SenderInfo{
			NTP: q.NTPTime, RTP: q.RTPTime, Packets: q.PacketCount, Octets: q.OctetCount,
		} &&
			sameBlocks(p, q.Reports)
	case *pion.ReceiverReport:
		same = p.Type == RR && p.SSRC == q.SSRC && sameBlocks(p, q.Reports)
	case *pion.SourceDescription:
		same = p.Type == SDES && (len(q.Chunks) == 0 || p.SSRC == q.Chunks[0].Source)
	case *pion.Goodbye:
		got := collectSources(p)
		same = p.Type == BYE && len(got) == len(q.Sources) && (len(got) == 0 || reflect.DeepEqual(got, q.Sources))
	case *pion.TransportLayerNack:
		var want []uint16
		for _, pair := range q.Nacks {
			want = append(want, pair.PacketList()...)
		}
		same = p.Type == NACK && p.SSRC == q.SenderSSRC && p.Media == q.MediaSSRC &&
			reflect.DeepEqual(collectNACKs(p), want)
	case *pion.TransportLayerCC:
		same = p.Type == TransportCC && p.SSRC == q.SenderSSRC && p.Media == q.MediaSSRC
	case *pion.PictureLossIndication:
		same = p.Type == PLI && p.SSRC == q.SenderSSRC && p.Media == q.MediaSSRC
	case *pion.FullIntraRequest:
		it := p.FIRs()
		for _, want := range q.FIR {
			ssrc, command, ok := it.Next()
			same = same && ok && ssrc == want.SSRC && command == want.SequenceNumber
		}
		_, _, more := it.Next()
		same = same && !more && p.Type == FIR && p.SSRC == q.SenderSSRC
	case *pion.ReceiverEstimatedMaximumBitrate:
		bps, ok := p.Bitrate()
		got := collectSources(p)
		same = ok && p.SSRC == q.SenderSSRC && len(got) == len(q.SSRCs) &&
			(len(got) == 0 || reflect.DeepEqual(got, q.SSRCs)) &&
			(bps == 0 || bps >= 1<<62 || float32(bps) == q.Bitrate) // pion makes something of 0 times 2^n
	case *pion.ExtendedReport:
		same = p.Type == XR && p.SSRC == q.SenderSSRC
	case *pion.ApplicationDefined:
		same = p.Type == APP && p.SSRC == q.SSRC
	case *pion.RawPacket:
		same = sameRaw(p, *q)
	default:
		same = p.Type == Unknown
	}
	if !same {
		t.Fatalf("read %v %+v, pion %T %+v", p.Type, p, q, q)
	}
}

// sameRaw compares p with a packet that pion does not parse. We parse one of these kinds: third-party loss, whose
// entries are a NACK's (RFC 6642, section 4.1). So pion reads it with a NACK's format.
func sameRaw(p *Packet, q pion.RawPacket) bool {
	if h := q.Header(); h.Type != wireRTPFB || h.Count != formatLossElsewhere {
		return p.Type == Unknown
	}
	asNACK := bytes.Clone(q)
	asNACK[0] = 0x80 | formatNACK
	var nack pion.TransportLayerNack
	if err := nack.Unmarshal(asNACK); err != nil { // without entries
		return p.Type == LossElsewhere && len(p.Body()) == feedbackLen-headerLen
	}
	var want []uint16
	for _, pair := range nack.Nacks {
		want = append(want, pair.PacketList()...)
	}
	return p.Type == LossElsewhere && p.SSRC == nack.SenderSSRC && p.Media == nack.MediaSSRC &&
		reflect.DeepEqual(collectNACKs(p), want)
}

func sameBlocks(p *Packet, want []pion.ReceptionReport) bool {
	got := collectBlocks(p)
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		if got[i] != fromPion(want[i]) {
			return false
		}
	}
	return true
}

func BenchmarkRead(b *testing.B) {
	data := AppendNACK(AppendReceiverReport(nil, 1, blocks(2)), 1, 2, []uint16{65535, 0, 40})
	b.ReportAllocs()
	for range b.N {
		r := NewReader(data)
		for p := (Packet{}); r.Next(&p); {
			walk(&p)
		}
	}
}
