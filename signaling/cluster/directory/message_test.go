package directory

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden messages of the current version")

// samples are messages of each kind, by the names of their files.
func samples() map[string]message {
	origin := Place{
		Node: "origin", URL: "https://a.example:8443", Region: "eu-west",
		Load:       Load{Sessions: 7, Egress: 9e9, CPU: 250},
		Generation: Generation{Count: 5, Tie: 0xdeadbeef}, Path: Path{"origin"},
	}
	edge := origin
	edge.Node, edge.URL, edge.Path = "edge", "https://b.example:8443", Path{"origin", "edge"}
	node := Node{
		ID: "origin", URL: "https://a.example:8443", Public: "https://live.example", Region: "eu-west",
		Load: origin.Load, Draining: true,
	}
	both := []Place{origin, edge}
	return map[string]message{
		"where":  {Kind: kindWhere, From: "edge", Question: 1<<64 - 1, Stream: "live"},
		"places": {Kind: kindPlaces, From: "origin", Question: 1<<64 - 1, Stream: "live", Places: both},
		"no":     {Kind: kindPlaces, From: "origin", Question: 12, Stream: "live"},
		"up":     {Kind: kindUp, From: "origin", Stream: "live", Places: []Place{origin}},
		"gone":   {Kind: kindGone, From: "origin", Stream: "live"},
		"beat":   {Kind: kindBeat, From: "origin", Beat: &node},
	}
}

// Messages of version 1 are written and read as they always were.
func TestGoldenMessages(t *testing.T) {
	for name, m := range samples() {
		file := filepath.Join("testdata", "v1-"+name+".json")
		got := append(m.encode(), '\n')
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
		read, err := decode(want)
		if m.Version = 1; err != nil || !reflect.DeepEqual(read, m) {
			t.Errorf("%s: got %+v and error %v, want %+v", name, read, err, m)
		}
	}
}

// A message of a later version is read as far as it is known. It is refused only for a feature that it needs.
func TestLaterVersions(t *testing.T) {
	const from = `"kind":"where","from":"a","q":"1","stream":"s"`
	for _, test := range []struct {
		text string
		want error
	}{
		{`{"v":2,` + from + `,"colour":{"red":[1]}}`, nil},
		{`{"v":2,` + from + `,"must":[]}`, nil},
		{`{"v":2,` + from + `,"must":["colour"]}`, errMust},
		{`{"v":2,"kind":"paint","from":"a"}`, errKind},
		{`{"v":0,` + from + `}`, errContent},
		{`{"v":1,"kind":"where","from":"a b","stream":"s"}`, errContent},
		{`{"v":1,"kind":"where","from":"a"}`, errContent},
		{`{"v":1,"kind":"where","from":"a","stream":"` + strings.Repeat("s", maxStream+1) + `"}`, errContent},
		{`{"v":1,"kind":"beat","from":"a","beat":{"id":"b","url":"https://b"}}`, errContent},
		{`{"v":1,"kind":"up","from":"a","stream":"s"}`, errContent},
		{strings.Repeat(" ", maxMessage+1), errLong},
	} {
		if _, err := decode([]byte(test.text)); !errors.Is(err, test.want) {
			t.Errorf("%.100s: got error %v, want %v", test.text, err, test.want)
		}
	}
}

// A place that cannot be is left out. The others of its message stay.
func TestPlacesThatCannotBe(t *testing.T) {
	good := samples()["places"].Places[1]
	for name, spoil := range map[string]func(*Place){
		"no generation":   func(p *Place) { p.Generation = Generation{} },
		"a loop":          func(p *Place) { p.Path = Path{"edge", "origin", "edge"} },
		"another's path":  func(p *Place) { p.Path = Path{"origin"} },
		"no path":         func(p *Place) { p.Path = nil },
		"too deep a path": func(p *Place) { p.Path = Path{"a", "b", "c", "d", "edge"} },
		"a bad id":        func(p *Place) { p.Path = Path{"a/b", "edge"} },
		"a file":          func(p *Place) { p.URL = "file:///etc/passwd" },
		"a password":      func(p *Place) { p.URL = "https://user:password@a" },
		"a long region":   func(p *Place) { p.Region = strings.Repeat("r", maxRegion+1) },
	} {
		bad := good
		spoil(&bad)
		m := message{Kind: kindPlaces, From: "origin", Stream: "live", Places: []Place{bad, good}}
		got, err := decode(m.encode())
		if err != nil || len(got.Places) != 1 || !reflect.DeepEqual(got.Places[0], good) {
			t.Errorf("%s: got %+v and error %v, want the other place", name, got.Places, err)
		}
	}
}

func TestGenerationText(t *testing.T) {
	for _, text := range []string{
		"", ".", "1", "1.", ".0000000000000001", "1.1", "-1.0000000000000001", "1.000000000000000g",
		"18446744073709551616.0000000000000001", "1.0000000000000001.", "1.+000000000000001",
	} {
		if err := new(Generation).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: got a generation, want an error", text)
		}
	}
	a, b, c := Generation{1, 5}, Generation{2, 1}, Generation{2, 3}
	if !b.Newer(a) || !c.Newer(b) || a.Newer(c) || a.Newer(a) {
		t.Errorf("got another order than %v, %v, %v", a, b, c)
	}
}

func FuzzMessage(f *testing.F) {
	for _, m := range samples() {
		f.Add(m.encode())
	}
	f.Add([]byte(`{"v":2,"kind":"where","from":"a","q":"1","stream":"s","colour":{"red":[1]},"must":["x"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := decode(text)
		if err != nil {
			return
		}
		m.Version = version
		again, err := decode(m.encode())
		if err != nil || !reflect.DeepEqual(again.encode(), m.encode()) {
			t.Errorf("got %s and error %v, want %s", again.encode(), err, m.encode())
		}
		answer, _, err := Reply("self", text, func(string, NodeID) []Place { return m.Places })
		if (err == nil) != (m.Kind == kindWhere) || (answer != nil) != (err == nil) {
			t.Errorf("%s: got the answer %s and error %v", m.Kind, answer, err)
		}
	})
}

func FuzzNews(f *testing.F) {
	var all []byte
	for _, m := range samples() {
		all = appendNews(all, m.encode())
	}
	f.Add(all)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, body []byte) {
		var again []byte
		rest := body
		for len(rest) > 0 {
			text, after, err := cutNews(rest)
			if err != nil {
				break
			}
			if len(after) >= len(rest) {
				t.Fatalf("got %d bytes left of %d, want fewer", len(after), len(rest))
			}
			again, rest = appendNews(again, text), after
		}
		for len(again) > 0 {
			_, after, err := cutNews(again)
			if err != nil {
				t.Fatalf("got error %v for news of ours", err)
			}
			again = after
		}
	})
}
