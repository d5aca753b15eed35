package trial

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"ringcast/cmd/ringbench/internal/watch"
)

// A Contender is a server that is measured.
type Contender struct {
	// Name is the text that named it.
	Name string
	// Binary is a ringcast or an sfu; empty for the one of Config.
	Binary string
	// Args are ringcast's flags beside those for addresses and workers. If URLs is set they are the whole command line
	// of another server.
	Args []string
	URLs URLs
	// Crowd is the contender's own; empty for that of Config.
	Crowd watch.Crowd
}

// URLs are those of another server. In them and in its command line {ip} is the server's address.
type URLs struct {
	WHIP, WHEP string
	// Ready gives any HTTP answer once the server is ready.
	Ready string
}

// ways holds, for each way in which ringcast sends its packets, the flags that choose it.
var ways = map[string][]string{
	"xdp":      {"--io", "xdp", "--interface", device},
	"segments": {"--io", "udp", "--batching", "segments"},
	"messages": {"--io", "udp", "--batching", "messages"},
	"off":      {"--io", "udp", "--batching", "off"},
}

const device = "eth0" // of both hosts

// sfuURLs are those of internal/sfu.
var sfuURLs = URLs{
	WHIP: "http://{ip}:8081/whip/bench{n}", WHEP: "http://{ip}:8081/whep/bench{n}",
	Ready: "http://{ip}:8081/",
}

// ParseContender reads WAY[@BINARY] [FLAGS…], sfu[@BINARY], or cmd:COMMAND LINE. The last needs urls. The flag --crowd
// of the first two is not the server's: the contender gets this crowd.
func ParseContender(text string, urls URLs) (Contender, error) {
	c := Contender{Name: text}
	if line, ok := strings.CutPrefix(text, "cmd:"); ok {
		c.Args, c.URLs = strings.Fields(line), urls
		if len(c.Args) == 0 {
			return c, errors.New("cmd: expected a command line after it")
		}
		if urls.WHIP == "" || urls.WHEP == "" {
			return c, fmt.Errorf("%s: expected its URLs too, as --whip and --whep", text)
		}
		if c.URLs.Ready == "" {
			c.URLs.Ready = urls.WHEP
		}
		return c, nil
	}
	words := strings.Fields(text)
	if len(words) == 0 {
		return c, errors.New("a contender has no name")
	}
	if i := slices.Index(words, "--crowd"); i > 0 {
		if i+1 == len(words) {
			return c, fmt.Errorf("%q: expected groups after --crowd", text)
		}
		if err := c.Crowd.Set(words[i+1]); err != nil {
			return c, fmt.Errorf("%q: --crowd: %w", text, err)
		}
		words = slices.Delete(words, i, i+2)
	}
	way, binary, _ := strings.Cut(words[0], "@")
	c.Binary = binary
	if way == "sfu" {
		c.URLs, c.Args = sfuURLs, append([]string{"--http", "{ip}:8081", "--udp", "{ip}:7001"}, words[1:]...)
		return c, nil
	}
	flags, ok := ways[way]
	if !ok {
		return c, fmt.Errorf("%q: expected xdp, segments, messages, off, sfu or cmd:…", text)
	}
	c.Args = append(slices.Clone(flags), words[1:]...)
	return c, nil
}

// foreign reports whether the contender is another server than ringcast.
func (c *Contender) foreign() bool { return c.URLs.WHEP != "" }

// busyPolls reports whether the server uses its whole core even without work.
func (c *Contender) busyPolls() bool { return slices.Contains(c.Args, "--busy-poll") }
