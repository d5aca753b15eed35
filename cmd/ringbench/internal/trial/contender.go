package trial

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Contender is a server that is measured.
type Contender struct {
	// Name is what it was called by.
	Name string
	// Binary is a ringcast, or an sfu; empty for the Config's.
	Binary string
	// Args are ringcast's flags beside those for addresses and workers, or the whole command line of
	// another server if URLs says where it listens.
	Args []string
	URLs URLs
}

// URLs are where another server listens. In them and in its command line {ip} is the server's address.
type URLs struct {
	WHIP, WHEP string
	// Ready answers anything at all by HTTP once the server is ready.
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

// sfuURLs are where internal/sfu listens.
var sfuURLs = URLs{
	WHIP: "http://{ip}:8081/whip/bench{n}", WHEP: "http://{ip}:8081/whep/bench{n}",
	Ready: "http://{ip}:8081/",
}

// ParseContender reads WAY[@BINARY] [FLAGS…], sfu[@BINARY], or cmd:COMMAND LINE, for which urls must be
// given.
func ParseContender(text string, urls URLs) (Contender, error) {
	c := Contender{Name: text}
	if line, ok := strings.CutPrefix(text, "cmd:"); ok {
		c.Args, c.URLs = strings.Fields(line), urls
		if len(c.Args) == 0 {
			return c, errors.New("cmd: has no command line behind it")
		}
		if urls.WHIP == "" || urls.WHEP == "" {
			return c, fmt.Errorf("%s: its WHIP and WHEP URLs are unknown", text)
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
	way, binary, _ := strings.Cut(words[0], "@")
	c.Binary = binary
	if way == "sfu" {
		c.URLs, c.Args = sfuURLs, append([]string{"--http", "{ip}:8081", "--udp", "{ip}:7001"}, words[1:]...)
		return c, nil
	}
	flags, ok := ways[way]
	if !ok {
		return c, fmt.Errorf("%q: xdp, segments, messages, off, sfu or cmd:… expected", text)
	}
	c.Args = append(slices.Clone(flags), words[1:]...)
	return c, nil
}

// foreign is whether the contender is no ringcast.
func (c *Contender) foreign() bool { return c.URLs.WHEP != "" }

// busyPolls is whether it takes its core whether there is work or not.
func (c *Contender) busyPolls() bool { return slices.Contains(c.Args, "--busy-poll") }
