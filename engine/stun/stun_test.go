package stun

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net"
	"net/netip"
	"strings"
	"testing"

	pion "github.com/pion/stun/v4"
)

var testID = [12]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}

const testPassword = "VOkJxbRl1RmTxUk/WvJxBt"

// Test vectors of RFC 5769: sections 2.1, 2.2 and 2.3.
var (
	rfcRequest = []byte("\x00\x01\x00\x58\x21\x12\xa4\x42" +
		"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae" +
		"\x80\x22\x00\x10STUN test client" +
		"\x00\x24\x00\x04\x6e\x00\x01\xff" +
		"\x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36" +
		"\x00\x06\x00\x09evtj:h6vY   " + // padded with spaces, which USERNAME does not include
		"\x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2" +
		"\x80\x28\x00\x04\xe5\x7a\x3b\xcf")
	rfcResponseIPv4 = []byte("\x01\x01\x00\x3c\x21\x12\xa4\x42" +
		"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae" +
		"\x80\x22\x00\x0btest vector " +
		"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43" +
		"\x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7" +
		"\x80\x28\x00\x04\xc0\x7d\x4c\x96")
	rfcResponseIPv6 = []byte("\x01\x01\x00\x48\x21\x12\xa4\x42" +
		"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae" +
		"\x80\x22\x00\x0btest vector " +
		"\x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9" +
		"\x00\x08\x00\x14\xa3\x82\x95\x4e\x4b\xe6\x7b\xf1\x17\x84\xc9\x7c\x82\x92\xc2\x75\xbf\xe3\xed\x41" +
		"\x80\x28\x00\x04\xc8\xfb\x0b\x4c")
)

func TestRFC5769(t *testing.T) {
	h := NewHasher()
	t.Run("request", func(t *testing.T) {
		var c Check
		if !c.Parse(rfcRequest) {
			t.Fatal("does not parse")
		}
		if string(c.LocalUfrag) != "evtj" || string(c.RemoteUfrag) != "h6vY" || c.Priority != 0x6e0001ff ||
			!c.Controlled || c.Controlling || c.TieBreaker != 0x932ff9b151263b36 || c.UseCandidate ||
			c.NumUnknown != 0 {
			t.Errorf("parsed %+v", c)
		}
		if !h.Verify(&c, testPassword) {
			t.Error("does not verify")
		}
		if h.Verify(&c, testPassword+"x") || h.Verify(&c, "") {
			t.Error("verifies with a wrong password")
		}
	})
	for _, r := range []struct {
		name, mapped string
		data         []byte
	}{
		{"IPv4 response", "192.0.2.1:32853", rfcResponseIPv4},
		{"IPv6 response", "[2001:db8:1234:5678:11:2233:4455:6677]:32853", rfcResponseIPv6},
	} {
		t.Run(r.name, func(t *testing.T) {
			got, ok := h.VerifyResponse(r.data, testPassword)
			if !ok || got.Code != 0 || got.Mapped.String() != r.mapped ||
				!bytes.Equal(got.TransactionID[:], rfcRequest[8:20]) {
				t.Errorf("%+v, %v", got, ok)
			}
			if _, ok := h.VerifyResponse(r.data, "wrong"); ok {
				t.Error("verifies with a wrong password")
			}
		})
	}
}

// A builder makes messages that the package itself would not.
type builder struct{ data []byte }

func newRequest() *builder { return &builder{appendHead(nil, bindingRequest, &testID)} }

func (b *builder) add(kind uint16, value string) *builder {
	b.data = appendAttribute(b.data, kind, len(value))
	b.data = append(b.data, value...)
	b.data = pad(b.data, len(value))
	return b
}

func (b *builder) integrity(password string) *builder {
	h := NewHasher()
	h.integrity(b.data, password)
	return b.add(attrIntegrity, string(h.sum[:]))
}

func (b *builder) fingerprint() *builder {
	b.setLength(8)
	crc := crc32.ChecksumIEEE(b.data) ^ fingerprintMask
	return b.add(attrFingerprint, string(binary.BigEndian.AppendUint32(nil, crc)))
}

func (b *builder) setLength(more int) *builder {
	binary.BigEndian.PutUint16(b.data[2:], uint16(len(b.data)-headerLen+more))
	return b
}

// The ufrag is found wherever USERNAME stands, and in nothing but a Binding request with a whole one.
func TestLocalUfrag(t *testing.T) {
	indication := newRequest().add(attrUsername, "local:remote").setLength(0).data
	indication[1] = bindingIndication
	short := newRequest().add(attrUsername, "local:remote").data
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"first", newRequest().add(attrUsername, "local:remote").data, "local"},
		{
			"after others",
			newRequest().add(attrPriority, "1234").add(0x8022, "software").add(attrUsername, "local:remote").data,
			"local",
		},
		{"first of two", newRequest().add(attrUsername, "local:remote").add(attrUsername, "x:y").data, "local"},
		{"no colon", newRequest().add(attrUsername, "local").data, ""},
		{"none", newRequest().add(attrPriority, "1234").data, ""},
		{"after integrity", newRequest().integrity("p").add(attrUsername, "local:remote").data, ""},
		{"cut short", short[:len(short)-1], ""},
		{"indication", indication, ""},
		{"header alone", newRequest().data, ""},
		{"nothing", nil, ""},
	} {
		if got := LocalUfrag(c.data); string(got) != c.want || (got == nil) != (c.want == "") {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	const user = "local:remote"
	ordinary := func() *builder { return newRequest().add(attrUsername, user) }
	finish := func(b *builder) []byte { return b.integrity(testPassword).fingerprint().data }
	for _, c := range []struct {
		name string
		data []byte
		want bool
		look func(c *Check) bool // nil: nothing special
	}{
		{"least", finish(ordinary()), true, func(c *Check) bool {
			return string(c.LocalUfrag) == "local" && string(c.RemoteUfrag) == "remote" && c.TransactionID == testID
		}},
		{
			"username after priority",
			finish(newRequest().add(attrPriority, "\x01\x02\x03\x04").add(attrUsername, user)),
			true, func(c *Check) bool { return c.Priority == 0x01020304 && string(c.RemoteUfrag) == "remote" },
		},
		{
			"everything",
			finish(
				ordinary().add(attrUseCandidate, "").add(attrControlling, "12345678").add(0xC057, "\x00\x01\x00\x0a"),
			),
			true, func(c *Check) bool { return c.UseCandidate && c.Controlling && !c.Controlled && c.NumUnknown == 0 },
		},
		{
			"first of two counts",
			finish(ordinary().add(attrUsername, "x:y").add(attrPriority,
				"\x00\x00\x00\x05").add(attrPriority, "\x00\x00\x00\x06")),
			true, func(c *Check) bool { return string(c.LocalUfrag) == "local" && c.Priority == 5 },
		},
		{"colons", finish(newRequest().add(attrUsername, "a:b:c")), true, func(c *Check) bool {
			return string(c.LocalUfrag) == "a" && string(c.RemoteUfrag) == "b:c"
		}},
		{"empty halves", finish(newRequest().add(attrUsername, ":")), true, func(c *Check) bool {
			return len(c.LocalUfrag) == 0 && len(c.RemoteUfrag) == 0
		}},
		{
			"unknown attributes",
			finish(ordinary().add(0x0002, "").add(0x7FFF,
				"abc").add(0x0002, "").add(0x0033, "").add(0x0034, "").add(0x0035, "")),
			true, func(c *Check) bool { return c.NumUnknown == 4 && c.Unknown == [4]uint16{2, 0x7FFF, 0x33, 0x34} },
		},
		{
			"known but useless", finish(ordinary().add(attrRealm, "r").add(attrNonce, "").
				add(attrPasswordAlgorithm,
					"\x00\x01\x00\x00").add(attrUserhash, strings.Repeat("h", 32)).add(attrMappedAddress, "")),
			true, func(c *Check) bool { return c.NumUnknown == 0 },
		},
		{
			"behind integrity",
			ordinary().integrity(testPassword).add(attrUseCandidate,
				"").add(0x0002, "").add(attrPriority, "x").fingerprint().data,
			true, func(c *Check) bool { return !c.UseCandidate && c.NumUnknown == 0 && c.Priority == 0 },
		},
		{
			"both integrities",
			ordinary().integrity(testPassword).add(attrIntegritySHA256, strings.Repeat("x", 32)).fingerprint().data,
			true, func(c *Check) bool { return c.NumUnknown == 0 },
		},
		{
			"integrity after that of SHA-256", finish(ordinary().add(attrIntegritySHA256, strings.Repeat("x", 32))),
			false, nil,
		},
		{
			"username behind integrity",
			newRequest().integrity(testPassword).add(attrUsername, user).fingerprint().data, false, nil,
		},
		{"no username", finish(newRequest()), false, nil},
		{"no colon", finish(newRequest().add(attrUsername, "localremote")), false, nil},
		{"empty username", finish(newRequest().add(attrUsername, "")), false, nil},
		{"no integrity", ordinary().fingerprint().data, false, nil},
		{"no fingerprint", ordinary().integrity(testPassword).setLength(0).data, false, nil},
		{
			"wrong fingerprint", ordinary().integrity(testPassword).add(attrFingerprint, "abcd").setLength(0).data,
			false, nil,
		},
		{
			"fingerprint not last", ordinary().integrity(testPassword).fingerprint().add(0x8022, "x").setLength(0).data,
			false, nil,
		},
		{"two fingerprints", ordinary().integrity(testPassword).fingerprint().fingerprint().data, false, nil},
		{"short integrity", ordinary().add(attrIntegrity, "tooshort").fingerprint().data, false, nil},
		{"short priority", finish(ordinary().add(attrPriority, "abc")), false, nil},
		{"empty priority", finish(ordinary().add(attrPriority, "")), false, nil},
		{"short tie-breaker", finish(ordinary().add(attrControlling, "1234")), false, nil},
		{"empty tie-breaker", finish(ordinary().add(attrControlled, "")), false, nil},
		{"response", rfcResponseIPv4, false, nil},
		{"nothing", nil, false, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var check Check
			if got := check.Parse(c.data); got != c.want {
				t.Fatalf("got %v", got)
			}
			if !c.want {
				return
			}
			if c.look != nil && !c.look(&check) {
				t.Errorf("parsed %+v", check)
			}
			if !NewHasher().Verify(&check, testPassword) {
				t.Error("does not verify")
			}
		})
	}
}

// TestHeader spoils the header of a good request, and makes its FINGERPRINT again.
func TestHeader(t *testing.T) {
	for name, spoil := range map[string]func(d []byte) []byte{
		"cookie":            func(d []byte) []byte { d[4]++; return d },
		"indication":        func(d []byte) []byte { d[1] = 0x11; return d },
		"other method":      func(d []byte) []byte { d[1] = 0x03; return d },
		"first bits":        func(d []byte) []byte { d[0] |= 0x40; return d },
		"length too large":  func(d []byte) []byte { d[3] += 4; return d },
		"length too small":  func(d []byte) []byte { d[3] -= 4; return d },
		"length not words":  func(d []byte) []byte { d[3]++; return append(d, 0) },
		"more than message": func(d []byte) []byte { return append(d, 0, 0, 0, 0) },
	} {
		d := spoil(bytes.Clone(rfcRequest))
		at := len(rfcRequest) - 8
		binary.BigEndian.PutUint32(d[at+4:], crc32.ChecksumIEEE(d[:at])^fingerprintMask)
		if new(Check).Parse(d) {
			t.Errorf("%s: parses", name)
		}
	}
}

func TestTruncated(t *testing.T) {
	h := NewHasher()
	for n := range rfcRequest {
		short := bytes.Clone(rfcRequest[:n])
		if new(Check).Parse(short) {
			t.Errorf("request of %d bytes parses", n)
		}
		// The same with a length that agrees.
		if n >= headerLen {
			binary.BigEndian.PutUint16(short[2:], uint16(n-headerLen))
			if new(Check).Parse(short) {
				t.Errorf("request of %d bytes with its length set parses", n)
			}
		}
	}
	for n := range rfcResponseIPv6 {
		if _, ok := h.VerifyResponse(rfcResponseIPv6[:n], testPassword); ok {
			t.Errorf("response of %d bytes verifies", n)
		}
	}
}

// TestChanged changes each byte of a request in turn: none may pass parsing and verifying both.
func TestChanged(t *testing.T) {
	h := NewHasher()
	at := len(rfcRequest) - 8
	for i := range at {
		d := bytes.Clone(rfcRequest)
		d[i] ^= 0x20
		if new(Check).Parse(d) {
			t.Errorf("byte %d: FINGERPRINT holds", i)
		}
		binary.BigEndian.PutUint32(d[at+4:], crc32.ChecksumIEEE(d[:at])^fingerprintMask)
		var c Check
		if c.Parse(d) && h.Verify(&c, testPassword) {
			t.Errorf("byte %d: verifies", i)
		}
	}
}

func TestIsBindingRequest(t *testing.T) {
	for _, c := range []struct {
		data []byte
		want bool
	}{
		{rfcRequest, true},
		{rfcResponseIPv4, false},
		{rfcRequest[:19], false},
		{append([]byte{0, 0x11}, rfcRequest[2:]...), false},
		{nil, false},
	} {
		if got := IsBindingRequest(c.data); got != c.want {
			t.Errorf("%x: %v", c.data, got)
		}
	}
}

func TestIsIndication(t *testing.T) {
	bare := append([]byte{0, 0x11, 0, 0}, rfcRequest[4:20]...)
	signed := newRequest().add(attrPriority, "prio").fingerprint().data
	signed[1] = 0x11
	binary.BigEndian.PutUint32(signed[len(signed)-4:], crc32.ChecksumIEEE(signed[:len(signed)-8])^fingerprintMask)
	wrong := bytes.Clone(signed)
	wrong[len(wrong)-1] ^= 1
	for name, c := range map[string]struct {
		data []byte
		want bool
	}{
		"a bare header":            {bare, true},
		"with attributes":          {signed, true},
		"with a wrong fingerprint": {wrong, false},
		"a request":                {rfcRequest, false},
		"a response":               {rfcResponseIPv4, false},
		"another method":           {append([]byte{0, 0x12}, bare[2:]...), false},
		"cut short":                {bare[:19], false},
		"bytes after the message":  {append(bytes.Clone(bare), 0, 0, 0, 0), false},
		"an attribute that is cut": {
			append([]byte{0, 0x11, 0, 8}, append(bytes.Clone(bare[4:]), 0, 6, 0, 8, 1, 2, 3, 4)...), false,
		},
		"without the cookie": {append([]byte{0, 0x11, 0, 0, 0, 0, 0, 0}, bare[8:]...), false},
		"nothing":            {nil, false},
	} {
		if got := IsIndication(c.data); got != c.want {
			t.Errorf("%s: %v, want %v: %x", name, got, c.want, c.data)
		}
	}
}

// passwords have every length around the block of the hash, where HMAC treats keys differently.
func passwords() []string {
	out := []string{""}
	for _, n := range []int{1, 22, 24, 63, 64, 65, 127, 128, 129, 256, 1000} {
		out = append(out, strings.Repeat("pass", n)[:n])
	}
	return out
}

var mappedAddresses = []netip.AddrPort{
	netip.MustParseAddrPort("192.0.2.1:1"),
	netip.MustParseAddrPort("255.255.255.255:65535"),
	netip.MustParseAddrPort("[2001:db8::1]:443"),
	netip.MustParseAddrPort("[::]:0"),
	netip.MustParseAddrPort("[::ffff:192.0.2.7]:9"),
}

// TestAppendRequest has pion and ourselves read our requests.
func TestAppendRequest(t *testing.T) {
	h := NewHasher()
	for _, password := range passwords() {
		for _, user := range []string{"a:b", "evtj:h6vY", strings.Repeat("u", 256) + ":" + strings.Repeat("v", 256)} {
			for _, nominate := range []bool{false, true} {
				controlled := !nominate
				data := h.AppendRequest([]byte("before"), &testID, Request{
					Username: user, Password: password, Priority: 77, UseCandidate: nominate, Controlled: controlled,
					TieBreaker: 1<<60 + 9,
				})[6:]
				var c Check
				if !c.Parse(data) || !h.Verify(&c, password) {
					t.Fatalf("password %q: does not verify", password)
				}
				if string(c.LocalUfrag)+":"+string(c.RemoteUfrag) != user || c.Priority != 77 ||
					c.UseCandidate != nominate || c.Controlling == controlled || c.Controlled != controlled ||
					c.TieBreaker != 1<<60+9 {
					t.Errorf("parsed %+v", c)
				}
				m := &pion.Message{Raw: bytes.Clone(data)}
				var name pion.Username
				if err := m.Decode(); err != nil {
					t.Fatal(err)
				}
				if err := name.GetFrom(m); err != nil || name.String() != user {
					t.Errorf("pion: username %v, %v", name, err)
				}
				if err := pion.MessageIntegrity(password).Check(m); err != nil {
					t.Errorf("pion: password of %d: %v", len(password), err)
				}
				if err := pion.Fingerprint.Check(m); err != nil {
					t.Errorf("pion: %v", err)
				}
				if m.Contains(pion.AttrUseCandidate) != nominate {
					t.Error("pion: USE-CANDIDATE")
				}
			}
		}
	}
}

func TestAppendSuccess(t *testing.T) {
	h := NewHasher()
	for _, password := range passwords() {
		for _, mapped := range mappedAddresses {
			data := h.AppendSuccess([]byte("before"), &testID, mapped, password)[6:]
			want := netip.AddrPortFrom(mapped.Addr().Unmap(), mapped.Port())
			got, ok := h.VerifyResponse(data, password)
			if !ok || got != (Response{TransactionID: testID, Mapped: want}) {
				t.Fatalf("%v: got %+v, %v", mapped, got, ok)
			}
			m := &pion.Message{Raw: bytes.Clone(data)}
			if err := m.Decode(); err != nil || m.Type != pion.BindingSuccess || m.TransactionID != testID {
				t.Fatalf("pion: %v, %v", m, err)
			}
			var x pion.XORMappedAddress
			if err := x.GetFrom(m); err != nil || !x.IP.Equal(net.IP(want.Addr().AsSlice())) ||
				x.Port != int(want.Port()) {
				t.Errorf("pion: %v for %v, %v", x, want, err)
			}
			if err := pion.MessageIntegrity(password).Check(m); err != nil {
				t.Errorf("pion: %v", err)
			}
			if err := pion.Fingerprint.Check(m); err != nil {
				t.Errorf("pion: %v", err)
			}
		}
	}
}

func TestAppendError(t *testing.T) {
	h := NewHasher()
	for _, c := range []struct {
		code    int
		unknown []uint16
	}{
		{CodeBadRequest, nil},
		{CodeRoleConflict, nil},
		{CodeUnknownAttribute, []uint16{0x7FFF}},
		{CodeUnknownAttribute, []uint16{1, 2, 3, 4}},
		{CodeUnknownAttribute, nil},
		{599, nil},
	} {
		data := h.AppendError(nil, &testID, c.code, c.unknown, testPassword)
		got, ok := h.VerifyResponse(data, testPassword)
		if !ok || got != (Response{TransactionID: testID, Code: c.code}) {
			t.Errorf("%d: %+v, %v", c.code, got, ok)
		}
		m := &pion.Message{Raw: bytes.Clone(data)}
		if err := m.Decode(); err != nil || m.Type != pion.BindingError {
			t.Fatalf("pion: %v, %v", m, err)
		}
		var code pion.ErrorCodeAttribute
		if err := code.GetFrom(m); err != nil || int(code.Code) != c.code || string(code.Reason) != reason(c.code) {
			t.Errorf("pion: %v, %v", code, err)
		}
		if err := pion.MessageIntegrity(testPassword).Check(m); err != nil {
			t.Errorf("pion: %v", err)
		}
		if err := pion.Fingerprint.Check(m); err != nil {
			t.Errorf("pion: %v", err)
		}
		if c.unknown == nil {
			continue
		}
		var unknown pion.UnknownAttributes
		if err := unknown.GetFrom(m); err != nil || len(unknown) != len(c.unknown) {
			t.Fatalf("pion: %v, %v", unknown, err)
		}
		for i, kind := range c.unknown {
			if uint16(unknown[i]) != kind {
				t.Errorf("pion: %v for %v", unknown, c.unknown)
			}
		}
	}
}

// TestPionToUs reads messages that pion builds.
func TestPionToUs(t *testing.T) {
	h := NewHasher()
	for _, password := range passwords() {
		m, err := pion.Build(pion.BindingRequest, pion.NewTransactionIDSetter(testID),
			pion.NewSoftware("pion"), pion.NewUsername("ours:theirs"),
			pion.RawAttribute{Type: pion.AttrPriority, Value: []byte{0, 0, 1, 0}},
			pion.RawAttribute{Type: pion.AttrUseCandidate},
			pion.NewShortTermIntegrity(password), pion.Fingerprint)
		if err != nil {
			t.Fatal(err)
		}
		var c Check
		if !c.Parse(m.Raw) || !h.Verify(&c, password) || h.Verify(&c, password+"!") {
			t.Fatalf("password of %d", len(password))
		}
		if string(c.LocalUfrag) != "ours" || string(c.RemoteUfrag) != "theirs" || c.Priority != 256 || !c.UseCandidate {
			t.Errorf("parsed %+v", c)
		}
		for _, mapped := range mappedAddresses {
			m, err := pion.Build(pion.BindingSuccess, pion.NewTransactionIDSetter(testID),
				&pion.XORMappedAddress{IP: mapped.Addr().AsSlice(), Port: int(mapped.Port())},
				pion.NewShortTermIntegrity(password), pion.Fingerprint)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := h.VerifyResponse(m.Raw, password)
			want := netip.AddrPortFrom(mapped.Addr().Unmap(), mapped.Port())
			if !ok || got != (Response{TransactionID: testID, Mapped: want}) {
				t.Errorf("%v: got %+v, %v", mapped, got, ok)
			}
		}
	}
}

func TestVerifyResponseRefuses(t *testing.T) {
	h := NewHasher()
	head := func(kind uint16) *builder { return &builder{appendHead(nil, kind, &testID)} }
	v4 := string(appendMapped(nil, &testID, mappedAddresses[0])[4:])
	for _, c := range []struct {
		name string
		data []byte
		want bool
	}{
		{"success", head(bindingSuccess).add(attrXORMappedAddress, v4).integrity("p").fingerprint().data, true},
		{
			"success without fingerprint",
			head(bindingSuccess).add(attrXORMappedAddress, v4).integrity("p").setLength(0).data, true,
		},
		{"request", head(bindingRequest).add(attrXORMappedAddress, v4).integrity("p").fingerprint().data, false},
		{"success without address", head(bindingSuccess).integrity("p").fingerprint().data, false},
		{
			"integrity after that of SHA-256",
			head(bindingSuccess).add(attrXORMappedAddress,
				v4).add(attrIntegritySHA256, "").integrity("p").fingerprint().data,
			false,
		},
		{
			"address behind integrity",
			head(bindingSuccess).integrity("p").add(attrXORMappedAddress, v4).fingerprint().data, false,
		},
		{
			"address too short",
			head(bindingSuccess).add(attrXORMappedAddress, v4[:7]).integrity("p").fingerprint().data, false,
		},
		{"address empty", head(bindingSuccess).add(attrXORMappedAddress, "").integrity("p").fingerprint().data, false},
		{
			"error",
			head(bindingError).add(attrErrorCode, "\x00\x00\x04\x57why").integrity("p").fingerprint().data, true,
		},
		{"error without code", head(bindingError).integrity("p").fingerprint().data, false},
		{
			"error code of a success",
			head(bindingError).add(attrErrorCode, "\x00\x00\x02\x00").integrity("p").fingerprint().data, false,
		},
		{
			"error code too short",
			head(bindingError).add(attrErrorCode, "\x00\x00\x04").integrity("p").fingerprint().data, false,
		},
		{
			"success with an error code",
			head(bindingSuccess).add(attrXORMappedAddress, v4).
				add(attrErrorCode, "\x00\x00\x04\x57").integrity("p").fingerprint().data,
			false,
		},
		{"no integrity", head(bindingSuccess).add(attrXORMappedAddress, v4).fingerprint().data, false},
		{"wrong password", head(bindingSuccess).add(attrXORMappedAddress, v4).integrity("q").fingerprint().data, false},
	} {
		if _, ok := h.VerifyResponse(c.data, "p"); ok != c.want {
			t.Errorf("%s: %v", c.name, ok)
		}
	}
}

// TestVerifyZero checks that a Check that was never parsed is never believed.
func TestVerifyZero(t *testing.T) {
	if NewHasher().Verify(&Check{}, "") {
		t.Error("verifies")
	}
}

func FuzzParse(f *testing.F) {
	h := NewHasher()
	f.Add(rfcRequest)
	f.Add(rfcResponseIPv4)
	f.Add(rfcResponseIPv6)
	f.Add(h.AppendRequest(nil, &testID, Request{
		Username: "a:b", Password: "p", Priority: 1, UseCandidate: true, TieBreaker: 2,
	}))
	f.Add(h.AppendError(nil, &testID, CodeUnknownAttribute, []uint16{1}, "p"))
	f.Add(append([]byte{0, 0x11, 0, 0}, rfcRequest[4:20]...))
	f.Add(newRequest().add(attrIntegritySHA256, "").add(attrUsername, "a:b").integrity("p").fingerprint().data)
	f.Add(newRequest().add(attrUsername, "a:b").add(attrPriority, "").integrity("p").fingerprint().data)
	f.Fuzz(func(t *testing.T, data []byte) {
		// Mutation alone never meets the CRC, so every input is tried with a correct one too.
		for range 2 {
			before := bytes.Clone(data)
			if IsIndication(data) {
				if m := (&pion.Message{Raw: bytes.Clone(data)}); m.Decode() != nil ||
					m.Type.Class != pion.ClassIndication {
					t.Errorf("pion does not take it for an indication: %x", data)
				}
			}
			var c Check
			if c.Parse(data) {
				if got := LocalUfrag(data); !bytes.Equal(got, c.LocalUfrag) {
					t.Errorf("LocalUfrag finds %q, Parse %q", got, c.LocalUfrag)
				}
				m := &pion.Message{Raw: bytes.Clone(data)}
				if err := m.Decode(); err != nil {
					t.Fatalf("pion: %v", err)
				}
				want, err := m.Get(pion.AttrUsername)
				if err != nil || string(want) != string(c.LocalUfrag)+":"+string(c.RemoteUfrag) {
					t.Errorf("username %q:%q, pion's %q", c.LocalUfrag, c.RemoteUfrag, want)
				}
				if h.Verify(&c, testPassword) != (pion.MessageIntegrity(testPassword).Check(m) == nil) {
					t.Error("we and pion judge the integrity differently")
				}
			}
			h.VerifyResponse(data, testPassword)
			if !bytes.Equal(data, before) {
				t.Fatal("input changed")
			}
			if len(data) < headerLen || len(data) > 1<<15 {
				return
			}
			data = append(bytes.Clone(data), make([]byte, -len(data)&3)...)
			b := (&builder{data}).fingerprint()
			data = b.data
		}
	})
}

// A response that we believe is one to pion, too, with the same code and address.
func FuzzVerifyResponse(f *testing.F) {
	h := NewHasher()
	f.Add(rfcResponseIPv4)
	f.Add(rfcResponseIPv6)
	for _, code := range []int{CodeBadRequest, CodeUnknownAttribute, CodeRoleConflict} {
		f.Add(h.AppendError(nil, &testID, code, []uint16{1, 2}, testPassword))
	}
	for _, mapped := range mappedAddresses {
		f.Add(h.AppendSuccess(nil, &testID, mapped, testPassword))
		m, err := pion.Build(pion.NewTransactionIDSetter(testID), pion.BindingSuccess,
			&pion.XORMappedAddress{IP: mapped.Addr().AsSlice(), Port: int(mapped.Port())},
			pion.NewSoftware("pion"), pion.NewShortTermIntegrity(testPassword), pion.Fingerprint)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.Raw)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		agreesOnResponse(t, h, data)
		if len(data) >= headerLen && len(data) < 1<<15 { // mutation alone never meets the integrity
			data = append(bytes.Clone(data), make([]byte, -len(data)&3)...)
			agreesOnResponse(t, h, (&builder{data}).integrity(testPassword).fingerprint().data)
		}
	})
}

// agreesOnResponse fails if pion reads a response otherwise that we believe.
func agreesOnResponse(t *testing.T, h *Hasher, data []byte) {
	t.Helper()
	r, ok := h.VerifyResponse(bytes.Clone(data), testPassword)
	if !ok {
		return
	}
	m := &pion.Message{Raw: bytes.Clone(data)}
	if err := m.Decode(); err != nil || m.TransactionID != r.TransactionID {
		t.Fatalf("pion reads transaction %x, %v; got %x", m.TransactionID, err, r.TransactionID)
	}
	if err := pion.NewShortTermIntegrity(testPassword).Check(m); err != nil {
		t.Errorf("pion does not believe the response: %v", err)
	}
	var code pion.ErrorCodeAttribute
	var mapped pion.XORMappedAddress
	if mapped.GetFrom(m) == nil && r.Code == 0 { // pion also reads the byte that receivers ignore
		a, _ := netip.AddrFromSlice(mapped.IP)
		if a.Unmap() != r.Mapped.Addr() || mapped.Port != int(r.Mapped.Port()) {
			t.Errorf("pion reads the address %v; got %v", mapped, r.Mapped)
		}
	}
	if r.Code != 0 && (code.GetFrom(m) != nil || int(code.Code) != r.Code) {
		t.Errorf("pion reads the code %d; got %d", code.Code, r.Code)
	}
}
