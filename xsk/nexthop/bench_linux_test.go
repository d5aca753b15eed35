package nexthop

import (
	"fmt"
	"testing"
)

// The cost of one path that is asked for again, among so many that a batch is full.
func BenchmarkAsk(b *testing.B) {
	a, _ := pair(b)
	var asker *asker
	a.inside(func() (err error) {
		asker, err = newAsker()
		return err
	})
	defer asker.close()
	var questions []question
	for i := range questionsAtMost {
		questions = append(questions, question{path("198.18.0.1", fmt.Sprintf("198.18.0.2:%d", i+1)), 7000, 0})
	}
	b.ReportAllocs()
	for done := 0; done < b.N; done += len(questions) {
		questions = questions[:min(len(questions), b.N-done)]
		if err := asker.ask(questions, func(int, answer) {}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	a, _ := pair(b)
	w := a.watch("v", Config{})
	a.send("198.18.0.2:50000")
	w.awaitHop(pathOnLink4, mac(0xb))
	way := w.follow(pathOnLink4)
	b.ReportAllocs()
	for b.Loop() {
		way.Resolve()
	}
}

// The cost for every received frame: whether its source is one of ours.
func BenchmarkOwn(b *testing.B) {
	a, _ := pair(b)
	w := a.watch("v", Config{})
	b.ReportAllocs()
	for b.Loop() {
		w.Own(pathOnLink4.Remote.Addr())
	}
}
