package trial

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"ringcast/cmd/ringbench/internal/watch"
)

// A Contender is a server that is measured.
type Contender struct {
	// Name is the text that named it.
	Name string
	// Binary is a ringcast or an sfu, empty for the one of Config, or the program of another server.
	Binary string
	// Args are ringcast's flags beside those for addresses and workers, or another server's whole command line.
	Args []string
	// Environment holds settings of another server, and Command is set for one: it has no program in Config.
	Environment []string
	Command     bool
	// URLs are set if the server is another than ringcast.
	URLs URLs
	// Crowd is the contender's own; empty for that of Config.
	Crowd watch.Crowd
	// Edge is set for a ringcast that pulls the streams from another, on the client's host.
	Edge bool
}

// URLs are those of another server. In them and in its command line {ip} is the server's address.
type URLs struct {
	WHIP, WHEP string
	// Ready gives any HTTP answer once the server is ready.
	Ready string
	// Token is the bearer token of publishers and viewers, if the server wants one.
	Token string
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

// ParseContender reads WAY[@BINARY] [FLAGS…], sfu[@BINARY], or cmd:COMMAND LINE. The last needs URLs: its own, or else
// urls. The flag --crowd of the first two is not the server's: the contender gets this crowd. Nor is --edge of the
// first: the contender gets the streams from an origin.
func ParseContender(text string, urls URLs) (Contender, error) {
	c := Contender{Name: text}
	if line, ok := strings.CutPrefix(text, "cmd:"); ok {
		return parseCommand(strings.Fields(line), urls)
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
	if i := slices.Index(words, "--edge"); i > 0 {
		c.Edge = true
		words = slices.Delete(words, i, i+1)
	}
	way, binary, _ := strings.Cut(words[0], "@")
	c.Binary = binary
	if way == "sfu" && c.Edge {
		return c, fmt.Errorf("%q: expected a ringcast with --edge", text)
	}
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

// parseCommand reads [whip=URL] [whep=URL] [ready=URL] [token=TOKEN] [NAME=VALUE…] PROGRAM [ARGUMENTS…]. The name is
// the program's, with the arguments.
func parseCommand(words []string, urls URLs) (c Contender, err error) {
	c.Command, c.URLs = true, urls
	for ; len(words) > 0; words = words[1:] {
		name, value, ok := strings.Cut(words[0], "=")
		if !ok {
			break
		}
		switch name {
		case "whip":
			c.URLs.WHIP = value
		case "whep":
			c.URLs.WHEP = value
		case "ready":
			c.URLs.Ready = value
		case "token":
			c.URLs.Token = value
		default:
			c.Environment = append(c.Environment, words[0])
		}
	}
	if len(words) == 0 {
		return c, errors.New("cmd: expected a command line after it")
	}
	c.Binary, c.Args = words[0], words[1:]
	c.Name = strings.Join(append([]string{filepath.Base(c.Binary)}, c.Args...), " ")
	if c.URLs.WHIP == "" || c.URLs.WHEP == "" {
		return c, fmt.Errorf(
			"cmd:%s: expected its URLs too: whip=URL whep=URL before the program, or --whip and --whep", c.Binary)
	}
	c.URLs.Ready = cmp.Or(c.URLs.Ready, c.URLs.WHEP)
	return c, nil
}

// foreign reports whether the contender is another server than ringcast.
func (c *Contender) foreign() bool { return c.URLs.WHEP != "" }

// busyPolls reports whether the server uses its whole core even without work.
func (c *Contender) busyPolls() bool { return slices.Contains(c.Args, "--busy-poll") }
