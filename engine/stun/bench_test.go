package stun

import (
	"net/netip"
	"testing"

	pion "github.com/pion/stun/v4"
)

// TestAllocations counts allocations for each check that arrives, and for each response of a simulated client.
func TestAllocations(t *testing.T) {
	h := NewHasher()
	out := make([]byte, 0, 256)
	mapped := mappedAddresses[2]
	password := string([]byte(testPassword)) // not a constant that the compiler could fold
	unknown := []uint16{1, 2}
	success := h.AppendSuccess(nil, &testID, mapped, password)
	var c Check
	for name, f := range map[string]func(){
		"check": func() {
			if !c.Parse(rfcRequest) || !h.Verify(&c, password) {
				t.Fatal("refused")
			}
			h.AppendSuccess(out, &c.TransactionID, mapped, password)
		},
		"error": func() { h.AppendError(out, &testID, CodeUnknownAttribute, unknown, password) },
		"request": func() {
			h.AppendRequest(out, &testID, Request{
				Username: "a:b", Password: password, Priority: 1, UseCandidate: true, TieBreaker: 2,
			})
		},
		"response": func() { h.VerifyResponse(success, password) },
		"forged":   func() { h.Verify(&c, "another") },
		"garbage":  func() { c.Parse(rfcRequest[:70]) },
		"long password": func() {
			h.AppendRequest(out, &testID, Request{
				Username: "a:b",
				Password: "a password that is longer than a block of the hash function, which is 64 bytes", Priority: 1,
				UseCandidate: true, TieBreaker: 2,
			})
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestResponseSize holds the docstrings to their word.
func TestResponseSize(t *testing.T) {
	h := NewHasher()
	if n := len(h.AppendSuccess(nil, &testID, mappedAddresses[2], "p")); n != 76 {
		t.Errorf("success: %d", n)
	}
	if n := len(h.AppendError(nil, &testID, CodeUnknownAttribute, []uint16{1, 2, 3, 4}, "p")); n != 92 {
		t.Errorf("error: %d", n)
	}
}

// BenchmarkCheck is the reason for this package: it does the same work with pion, parse, verify and answer. pion is
// about as fast, but allocates for each key and address, and takes addresses of package net.
func BenchmarkCheck(b *testing.B) {
	mapped := netip.MustParseAddrPort("192.0.2.1:32853")
	b.Run("ours", func(b *testing.B) {
		h := NewHasher()
		out := make([]byte, 0, 256)
		var c Check
		b.ReportAllocs()
		for range b.N {
			if !c.Parse(rfcRequest) || !h.Verify(&c, testPassword) {
				b.Fatal("refused")
			}
			h.AppendSuccess(out, &c.TransactionID, mapped, testPassword)
		}
	})
	b.Run("pion", func(b *testing.B) {
		in, out := pion.New(), pion.New()
		var name pion.Username
		b.ReportAllocs()
		for range b.N {
			key := pion.NewShortTermIntegrity(testPassword)
			x := pion.XORMappedAddress{IP: mapped.Addr().AsSlice(), Port: int(mapped.Port())}
			in.Raw = append(in.Raw[:0], rfcRequest...)
			if in.Decode() != nil || name.GetFrom(in) != nil || pion.Fingerprint.Check(in) != nil ||
				key.Check(in) != nil {
				b.Fatal("refused")
			}
			out.Reset()
			out.TransactionID = in.TransactionID
			out.Type = pion.BindingSuccess
			out.WriteHeader()
			if x.AddTo(out) != nil || key.AddTo(out) != nil || pion.Fingerprint.AddTo(out) != nil {
				b.Fatal("cannot answer")
			}
		}
	})
}
