package directory

import (
	"reflect"
	"strings"
	"testing"
)

// Messages about trees are read as they were written, and refused where they are not valid.
func TestPathsText(t *testing.T) {
	good := Paths{Version: version, Change: 7, Paths: []StreamPath{
		{Stream: "live", Generation: Generation{1, 2}, Path: Path{"o", "up"}}, {Stream: "lost"},
	}}
	if got, err := ReadPaths([]byte(good.Encode()), "up"); err != nil || !reflect.DeepEqual(got, good) {
		t.Errorf("got %+v and error %v, want %+v", got, err, good)
	}
	for name, text := range map[string]string{
		"no JSON":        `change`,
		"version 0":      `{"change":1}`,
		"a feature":      `{"v":1,"must":["x"],"change":1}`,
		"another's path": `{"v":1,"paths":[{"stream":"s","gen":"1.0000000000000001","path":["o"]}]}`,
		"a circle":       `{"v":1,"paths":[{"stream":"s","gen":"1.0000000000000001","path":["up","o","up"]}]}`,
		"a long path":    `{"v":1,"paths":[{"stream":"s","gen":"1.0000000000000001","path":["a","b","c","d","up"]}]}`,
		"no stream":      `{"v":1,"paths":[{"stream":"","gen":"1.0000000000000001"}]}`,
		"too long":       strings.Repeat(" ", maxAnswer) + `{"v":1}`,
		"many paths": `{"v":1,"paths":[` + strings.Repeat(`{"stream":"s","gen":"1.0000000000000001"},`, MaxPaths) +
			`{"stream":"s","gen":"1.0000000000000001"}]}`,
	} {
		if got, err := ReadPaths([]byte(text), "up"); err == nil {
			t.Errorf("%s: got %+v, want an error", name, got)
		}
	}
	if _, err := ReadPaths([]byte(`{"v":2,"change":1,"colour":"red"}`), "up"); err != nil {
		t.Errorf("got error %v for a later version, want none", err)
	}
}

// An origin names itself or its edges. An edge answers no question of the directory.
func TestWhere(t *testing.T) {
	b := branchOf("self", 1)
	b.Publish(Generation{1, 1})
	if places := b.Where("x"); len(places) != 1 || places[0].Node != "self" {
		t.Errorf("got %+v, want the origin", places)
	}
	if err := b.Follow(Generation{1, 1}, Path{"o"}); err != nil {
		t.Fatal(err)
	}
	if places := b.Where("x"); places != nil {
		t.Errorf("got %+v of an edge, want nothing", places)
	}
}

func FuzzPaths(f *testing.F) {
	place := Place{Node: "up", URL: "https://up", Generation: Generation{1, 1}, Path: Path{"o", "up"}}
	f.Add(Paths{Change: 3, Paths: []StreamPath{{Stream: "s", Path: Path{"o", "up"}}}}.Encode())
	f.Add(EncodePlaces([]Place{place}))
	f.Add(Node{ID: "up", URL: "https://up", Region: "eu"}.Encode())
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := ReadPaths([]byte(text), "up"); err == nil {
			again, err := ReadPaths([]byte(p.Encode()), "up")
			if err != nil || again.Encode() != p.Encode() {
				t.Errorf("got %+v and error %v, want %+v", again, err, p)
			}
		}
		if places, err := ReadPlaces(text); err == nil {
			again, err := ReadPlaces(EncodePlaces(places))
			if err != nil || len(again) != len(places) {
				t.Errorf("got %+v and error %v, want %+v", again, err, places)
			}
		}
		if n, err := ReadNode(text); err == nil {
			if again, err := ReadNode(n.Encode()); err == nil && again != n {
				t.Errorf("got %+v, want %+v", again, n)
			}
		}
	})
}
