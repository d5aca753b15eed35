package config

import (
	"fmt"
	"io"
)

const helpHead = `ringcast serves a WHIP publisher's stream to many WHEP viewers, through one UDP port.

Usage: ringcast [flags]
       ringcast doctor [flags] [--json]   reports how AF_XDP would work here with these settings
       ringcast nodes [flags]             prints the nodes of the cluster of the server here (--admin)
       ringcast --version                 prints the version and the commit

Each setting may come from a YAML file, its environment variable or its flag. The last of these wins.
A key of the file is the flag without dashes. Lists: a YAML list, commas in a variable, flags repeated.

`

const helpTail = `
Examples:
  ringcast
  ringcast --public-ip 203.0.113.7 --tls-cert fullchain.pem --tls-key privkey.pem --http :443
  ringcast --tls acme --host media.example.org --public-ip 203.0.113.7
  ringcast doctor --interface eth0 && ringcast --io xdp --interface eth0
  RINGCAST_PUBLISH_TOKEN=$(cat token) ringcast --tls self
  ringcast --config ringcast.yaml, with this file:
    http: ":443"
    public-ip:
      - 203.0.113.7
      - 2001:db8::7
    grace: 1m

After SIGTERM or SIGINT the server says goodbye to all peers and ends within 3 seconds. A second one
ends it at once. After SIGHUP it reads the certificate again.
`

// PrintHelp prints the text of --help.
func PrintHelp(w io.Writer) {
	fmt.Fprint(w, helpHead)
	for i := range settings {
		s := &settings[i]
		head := "--" + s.key
		if s.noFlag {
			head = s.key + ":"
		}
		if s.arg != "" {
			head += " " + s.arg
		}
		fmt.Fprintf(w, "  %-24s %s\n      %s", head, s.env(), s.help)
		if s.initial != "" {
			fmt.Fprintf(w, " (default %s)", s.initial)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprint(w, helpTail)
}
