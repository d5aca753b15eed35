package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ringcast/cmd/ringcast/internal/logging"
	"ringcast/engine"
	"ringcast/engine/host"
	"ringcast/engine/udp"
	"ringcast/signaling"
)

// write puts a file named ringcast.yaml into the test's directory, which becomes the current one.
func write(t *testing.T, content string) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("ringcast.yaml", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A sourceRow has the values that a setting takes: its default, then those of file, variable and flag.
type sourceRow struct {
	field              func(*Config) any
	initial            string
	file, env, flag    string
	inFile, inEnv, won string // as the field prints; where empty, the value itself
}

// Every setting of the table has its row.
func TestSourcesOverrideEachOther(t *testing.T) {
	rows := map[string]sourceRow{
		"http": {
			field: func(c *Config) any { return c.HTTP }, initial: ":8080", file: ":1", env: "h:2",
			flag: "[::1]:3",
		},
		"udp": {field: func(c *Config) any { return c.UDP }, initial: ":7000", file: ":1", env: "h:2", flag: ":0"},
		"admin": {
			field: func(c *Config) any { return c.Admin }, initial: "127.0.0.1:9090", file: ":1", env: ":2",
			flag: ":3",
		},
		"admin-token": {
			field: func(c *Config) any { return string(c.Management.Token) }, initial: "",
			file: "0123456789abcdef", env: "fedcba9876543210", flag: "0123456789ABCDEF",
		},
		"metrics-token": {
			field: func(c *Config) any { return string(c.Management.MetricsToken) }, initial: "",
			file: "0123456789abcdeg", env: "fedcba9876543211", flag: "0123456789ABCDEG",
		},
		"admin-host": {
			field: func(c *Config) any { return c.Management.Hosts }, initial: "[]",
			file: "[a.example, \"::1\"]", inFile: "[a.example ::1]", env: "b, 192.0.2.1", inEnv: "[b 192.0.2.1]",
			flag: "c", won: "[c]",
		},
		"io": {
			field: func(c *Config) any { return c.Engine.Host.IO }, initial: "auto", file: "udp", env: "auto",
			flag: "xdp",
		},
		"interface": {
			field: func(c *Config) any { return c.Engine.Host.Interfaces }, initial: "[]",
			file: "[eth0, eth1]", inFile: "[eth0 eth1]", env: "br-lan, ens6,br-lan", inEnv: "[br-lan ens6]",
			flag: "enp3s0f1.7", won: "[enp3s0f1.7]",
		},
		"zerocopy": {
			field: func(c *Config) any { return c.Engine.Host.Zerocopy }, initial: "true", file: "off",
			inFile: "false", env: "auto", inEnv: "true", flag: "off", won: "false",
		},
		"generic": {
			field: func(c *Config) any { return c.Engine.Host.Generic }, initial: "false", file: "true",
			env: "false", flag: "true",
		},
		"guard": {
			field: func(c *Config) any { return c.Engine.Guard }, initial: "true", file: "off",
			inFile: "false", env: "on", inEnv: "true", flag: "off", won: "false",
		},
		"stun-rate": {
			field: func(c *Config) any { return c.Engine.STUNRate }, initial: "4000", file: "1", env: "2",
			flag: "3",
		},
		"checksum4": {
			field: func(c *Config) any { return c.Engine.Checksum4 }, initial: "true", file: "off",
			inFile: "false", env: "on", inEnv: "true", flag: "off", won: "false",
		},
		"dscp": {
			field: func(c *Config) any { return c.Engine.DSCP }, initial: "0", file: "ef", inFile: "46",
			env: "AF41", inEnv: "34", flag: "63", won: "63",
		},
		"adapt": {
			field: func(c *Config) any { return c.Engine.Adapt }, initial: "true", file: "off", inFile: "false",
			env: "on", inEnv: "true", flag: "off", won: "false",
		},
		"start-rate": {
			field: func(c *Config) any { return c.Engine.StartRate }, initial: "2500000", file: "800k",
			inFile: "800000", env: "1.5M", inEnv: "1500000", flag: "64000", won: "64000",
		},
		"batching": {
			field: func(c *Config) any { return c.Engine.Batching }, initial: "segments", file: "messages",
			env: "segments", flag: "off",
		},
		"busy-poll": {
			field: func(c *Config) any { return c.Engine.Host.BusyPoll }, initial: "false", file: "true",
			env: "false", flag: "true",
		},
		"cpus": {
			field: func(c *Config) any { return c.Engine.Host.CPUs }, initial: "[]",
			file: "0,2-3", inFile: "[0 2 3]", env: "7-7, 1", inEnv: "[7 1]", flag: "4", won: "[4]",
		},
		"workers": {
			field: func(c *Config) any { return c.Engine.Workers }, initial: "0", file: "1", env: "2",
			flag: "3",
		},
		"max-sessions": {
			field: func(c *Config) any { return c.Engine.Sessions.Max }, initial: "20000", file: "1",
			env: "2", flag: "3",
		},
		"public-ip": {
			field: func(c *Config) any { return c.Engine.Public.Public }, initial: "[]",
			file: "[192.0.2.1, \"2001:db8::1\"]", inFile: "[192.0.2.1 2001:db8::1]",
			env: "192.0.2.2, 192.0.2.3", inEnv: "[192.0.2.2 192.0.2.3]",
			flag: "::ffff:192.0.2.4", won: "[192.0.2.4]",
		},
		"max-pending": {
			field: func(c *Config) any { return c.Engine.Sessions.MaxPending }, initial: "4000",
			file: "1", env: "2", flag: "3",
		},
		"max-viewers": {
			field: func(c *Config) any { return c.Engine.Sessions.Limits.Viewers }, initial: "0",
			file: "1", env: "2", flag: "3",
		},
		"max-per-source": {
			field: func(c *Config) any { return c.Engine.Sessions.Limits.SourceSessions }, initial: "0",
			file: "1", env: "2", flag: "3",
		},
		"max-bitrate": {
			field: func(c *Config) any { return c.Engine.Sessions.Limits.Bitrate }, initial: "0", file: "800k",
			inFile: "800000", env: "1.5M", inEnv: "1500000", flag: "0",
		},
		"over-bitrate": {
			field: func(c *Config) any { return c.Engine.Sessions.Limits.Refuse }, initial: "false", file: "refuse",
			inFile: "true", env: "warn", inEnv: "false", flag: "refuse", won: "true",
		},
		"history-memory": {
			field:   func(c *Config) any { return c.Engine.HistoryMemory },
			initial: fmt.Sprint(engine.DefaultConfig().HistoryMemory),
			file:    "16M", inFile: "16777216", env: "2GiB", inEnv: "2147483648", flag: "33554432",
		},
		"publish-token": {
			field:   func(c *Config) any { return string(c.Signaling.PublishToken) },
			initial: "", file: "0123", env: "env+/=", flag: "1e3",
		},
		"view-token": {
			field: func(c *Config) any { return string(c.Signaling.ViewToken) }, initial: "", file: "true",
			env: "b", flag: "-c",
		},
		"hook-url": {
			field: func(c *Config) any { return c.Hook.URL }, initial: "", file: "http://a/", env: "https://b:1/c?d",
			flag: "http://[::1]:2",
		},
		"hook-secret": {
			field: func(c *Config) any { return string(c.Hook.Secret) }, initial: "", file: "0123456789abcdef",
			env: "fedcba9876543210", flag: "0123456789ABCDEF",
		},
		"jwt-keys": {
			field:   func(c *Config) any { return c.Access.Keys },
			initial: "", file: "keys.pem", env: "/etc/ringcast/keys.json", flag: "https://id.example.org/keys",
		},
		"jwt-issuer": {
			field: func(c *Config) any { return c.Access.Issuer }, initial: "", file: "a", env: "b", flag: "c",
		},
		"jwt-audience": {
			field: func(c *Config) any { return c.Access.Audience }, initial: "", file: "a", env: "b", flag: "c",
		},
		"auth-url": {
			field: func(c *Config) any { return c.Access.Hook }, initial: "", file: "http://127.0.0.1:3000/",
			env: "https://auth.example.org/ringcast", flag: "https://auth.example.org/?x=1",
		},
		"auth-secret": {
			field: func(c *Config) any { return string(c.Access.Secret) }, initial: "", file: "a", env: "b", flag: "c",
		},
		"token-grace": {
			field: func(c *Config) any { return c.Access.Grace }, initial: "30s",
			file: "1m", inFile: "1m0s", env: "0", inEnv: "0s", flag: "1500ms", won: "1.5s",
		},
		"takeover": {
			field: func(c *Config) any { return c.Engine.Sessions.Takeover }, initial: "false",
			file: "true", env: "false", flag: "true",
		},
		"grace": {
			field: func(c *Config) any { return c.Engine.Sessions.Grace }, initial: "30s",
			file: "1m", inFile: "1m0s", env: "0", inEnv: "0s", flag: "1500ms", won: "1.5s",
		},
		"ice-server": {
			field: func(c *Config) any { return c.Signaling.ICEServers.URLs }, initial: "[]",
			file: "[\"stun:a\", \"stuns:b:1\"]", inFile: "[stun:a stuns:b:1]",
			env: "stun:c,stun:d", inEnv: "[stun:c stun:d]", flag: "stun:192.0.2.7", won: "[stun:192.0.2.7]",
		},
		"turn-secret": {
			field: func(c *Config) any { return string(c.Signaling.ICEServers.Secret) }, initial: "", file: "a",
			env: "b", flag: "c",
		},
		"turn-lifetime": {
			field: func(c *Config) any { return c.Signaling.ICEServers.Lifetime }, initial: "12h0m0s", file: "1h",
			inFile: "1h0m0s", env: "2m", inEnv: "2m0s", flag: "24h", won: "24h0m0s",
		},
		"frame-ancestors": {
			field: func(c *Config) any { return c.Signaling.FrameAncestors }, initial: "['self']",
			file: "none", inFile: "['none']",
			env: "self, https://*.example.org:8443", inEnv: "['self' https://*.example.org:8443]",
			flag: "*", won: "[*]",
		},
		"tls": {
			field: func(c *Config) any { return c.TLS.Self }, initial: "false", file: "self", inFile: "true",
			env: "", inEnv: "false", flag: "self", won: "true",
		},
		"host": {
			field: func(c *Config) any { return c.TLS.ACME.Hosts }, initial: "[]",
			file: "[a.example.org, B.example.org.]", inFile: "[a.example.org b.example.org]",
			env: "bücher.example,xn--bcher-kva.example", inEnv: "[xn--bcher-kva.example]",
			flag: "c.example.org", won: "[c.example.org]",
		},
		"acme-email": {
			field: func(c *Config) any { return c.TLS.ACME.Email }, initial: "", file: "a@example.org",
			env: "b@c.example", flag: "d@e.example",
		},
		"acme-directory": {
			field: func(c *Config) any { return c.TLS.ACME.Directory }, initial: "", file: "https://a.example/dir",
			env: "https://b.example", flag: "https://[::1]:14000/dir",
		},
		"acme-ca": {
			field: func(c *Config) any { return c.TLS.ACME.Roots }, initial: "", file: "a", env: "b", flag: "c",
		},
		"acme-cache": {
			field: func(c *Config) any { return c.TLS.ACME.Cache }, initial: "", file: "a", env: "b", flag: "c",
		},
		"acme-http": {
			field: func(c *Config) any { return c.TLS.ACME.HTTP }, initial: ":80", file: ":1", env: "h:2",
			flag: "[::1]:3",
		},
		"tls-cert": {field: func(c *Config) any { return c.TLS.Cert }, initial: "", file: "a", env: "b", flag: "c"},
		"tls-key":  {field: func(c *Config) any { return c.TLS.Key }, initial: "", file: "a", env: "b", flag: "c"},
		"base": {
			field: func(c *Config) any { return c.Signaling.Base }, initial: "", file: "/cast/",
			inFile: "/cast", env: "/a/b", flag: "/tv/cast",
		},
		"trusted-proxies": {
			field: func(c *Config) any { return c.Signaling.TrustedProxies }, initial: "[]",
			file: "[10.0.0.1/8, \"2001:db8::/32\"]", inFile: "[10.0.0.0/8 2001:db8::/32]",
			env: "127.0.0.1, ::1", inEnv: "[127.0.0.1/32 ::1/128]",
			flag: "::ffff:192.0.2.0/120", won: "[192.0.2.0/24]",
		},
		"log-level": {
			field: func(c *Config) any { return c.Log.Level }, initial: "INFO",
			file: "debug", inFile: "DEBUG", env: "warn", inEnv: "WARN", flag: "Error", won: "ERROR",
		},
		"log-format": {
			field: func(c *Config) any { return c.Log.JSON }, initial: "false", file: "json",
			inFile: "true", env: "text", inEnv: "false", flag: "json", won: "true",
		},
	}
	maps.Copy(rows, clusterRows)
	for i := range settings {
		s := &settings[i]
		if s.outside {
			continue
		}
		t.Run(s.key, func(t *testing.T) {
			row, ok := rows[s.key]
			if !ok {
				t.Fatal("the setting has no row")
			}
			content := s.key + ": " + row.file + "\n"
			variable := s.env() + "=" + row.env
			flag := "--" + s.key + "=" + row.flag
			config := "--config=ringcast.yaml"
			switch s.key { // one is nothing without the other
			case "hook-secret":
				content += "hook-url: http://a/\n"
			case "tls-cert":
				content += "tls-key: k\n"
			case "tls-key":
				content += "tls-cert: c\n"
			case "jwt-issuer", "jwt-audience":
				content += "jwt-keys: k\n"
			case "auth-url":
				content += "auth-secret: s\n"
			case "auth-secret":
				content += "auth-url: http://h/\n"
			}
			content += clusterNeeds[s.key]
			write(t, content)
			expect := func(want, otherwise string, args, environ []string) {
				t.Helper()
				c, err := Load(args, environ)
				if err != nil {
					t.Fatal(err)
				}
				if want == "" {
					want = otherwise
				}
				if got := fmt.Sprint(row.field(&c)); got != want {
					t.Errorf("%v %v: got %s, want %s", args, environ, got, want)
				}
			}
			expect(row.initial, "", nil, nil)
			expect(row.inFile, row.file, []string{config}, nil)
			expect(row.inEnv, row.env, []string{config}, []string{variable})
			if !s.noFlag {
				expect(row.won, row.flag, []string{config, flag}, []string{variable})
				expect(row.won, row.flag, []string{flag, config}, []string{variable})
			}
			delete(rows, s.key)
		})
	}
	for key := range rows {
		t.Errorf("no setting for the row of %s", key)
	}
}

func TestFormsOfSources(t *testing.T) {
	ips := func(want string) func(Config) error {
		return func(c Config) error {
			if got := fmt.Sprint(c.Engine.Public.Public); got != want {
				return errors.New(got)
			}
			return nil
		}
	}
	for _, row := range []struct {
		name, file string
		env, args  []string
		check      func(Config) error
	}{
		{name: "one dash", args: []string{"-public-ip", "192.0.2.1"}, check: ips("[192.0.2.1]")},
		{
			name: "repeated flag", args: []string{"--public-ip", "192.0.2.1", "--public-ip=::1"},
			check: ips("[192.0.2.1 ::1]"),
		},
		{name: "names and addresses", args: []string{
			"--public-ip", "media.example.org,192.0.2.1",
			"--public-ip=a.b.",
		}, check: func(c Config) error {
			if fmt.Sprint(c.Engine.Public.Public, c.Engine.Public.Names) != "[192.0.2.1] [media.example.org a.b.]" {
				return fmt.Errorf("%v %v", c.Engine.Public.Public, c.Engine.Public.Names)
			}
			return nil
		}},
		{
			name: "flag before a name", file: "public-ip: media.example.org",
			args: []string{"--public-ip", "192.0.2.1"},
			check: func(c Config) error {
				if fmt.Sprint(c.Engine.Public.Public, c.Engine.Public.Names) != "[192.0.2.1] []" {
					return fmt.Errorf("%v %v", c.Engine.Public.Public, c.Engine.Public.Names)
				}
				return nil
			},
		},
		{name: "single value for a list", file: "public-ip: 192.0.2.1", check: ips("[192.0.2.1]")},
		{name: "block list", file: "public-ip:\n  - 192.0.2.1\n  - ::1\n", check: ips("[192.0.2.1 ::1]")},
		{name: "empty list", file: "public-ip: []", check: ips("[]")},
		{
			name: "empty variable", file: "public-ip: [192.0.2.1]", env: []string{"RINGCAST_PUBLIC_IP="},
			check: ips("[]"),
		},
		{name: "empty file", file: "# nothing yet\n---\n", check: ips("[]")},
		{name: "Windows line ends", file: "---\r\npublic-ip: 192.0.2.1\r\nio: udp\r\n", check: ips("[192.0.2.1]")},
		{name: "last scalar flag", args: []string{"--io", "udp", "--io", "auto"}, check: func(c Config) error {
			if c.Engine.Host.IO != "auto" {
				return errors.New(string(c.Engine.Host.IO))
			}
			return nil
		}},
		{name: "switch", args: []string{"--takeover", "--io", "udp"}, check: func(c Config) error {
			if !c.Engine.Sessions.Takeover || c.Engine.Host.IO != "udp" {
				return fmt.Errorf("%v", c)
			}
			return nil
		}},
		{name: "switch off", file: "takeover: true", args: []string{"--takeover=false"}, check: func(c Config) error {
			if c.Engine.Sessions.Takeover {
				return errors.New("on")
			}
			return nil
		}},
		{name: "no admin", args: []string{"--admin", ""}, check: func(c Config) error {
			if c.Admin != "" {
				return errors.New(c.Admin)
			}
			return nil
		}},
		{
			name: "file named by variable", file: "io: udp", env: []string{"RINGCAST_CONFIG=ringcast.yaml"},
			check: func(c Config) error {
				if c.Engine.Host.IO != "udp" || c.file != "ringcast.yaml" {
					return fmt.Errorf("%v", c)
				}
				return nil
			},
		},
		{
			name: "others' variables", check: ips("[]"),
			env: []string{
				"RINGCAST_BIN=/x", "RINGCAST_ARGS=--io udp", "RINGCAST_ARTIFACTS=/y", "RINGCAST_CHROMIUM=/z",
				"RINGCAST_NEED=xdp",
				"RINGCAST_SERVICE_HOST=10.0.0.1", "RINGCAST_SERVICE_PORT=80", "RINGCAST_SERVICE_PORT_HTTP=80",
				"RINGCAST_PORT=tcp://10.0.0.1:80", "RINGCAST_PORT_80_TCP=tcp://10.0.0.1:80",
				"RINGCAST_PORT_80_TCP_PROTO=tcp", "RINGCAST_PORT_7000_UDP_ADDR=10.0.0.1",
				"RINGCAST_ADMIN_SERVICE_HOST=10.0.0.2",
				"RINGCAST_ADMIN_PORT=tcp://10.0.0.2:9090", "MY_RINGCAST_X=1", "ringcast_io=x",
			},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.file != "" {
				write(t, row.file)
				if len(row.env) == 0 || !strings.HasPrefix(row.env[0], "RINGCAST_CONFIG=") {
					row.args = append(row.args, "--config", "ringcast.yaml")
				}
			}
			c, err := Load(row.args, row.env)
			if err == nil {
				err = row.check(c)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

const (
	addressWanted = "an address such as :8080, 192.0.2.1:8080 or [2001:db8::1]:8080 expected"
	baseWanted    = "a path such as /cast expected, of at most 256 characters, with A-Z a-z 0-9 . _ ~ - between " +
		"the slashes"
	serviceWanted = "a URL such as https://auth.example.org/path expected"
	networkWanted = "a network such as 10.0.0.0/8, or the address of a proxy, expected"
)

func TestConfigErrors(t *testing.T) {
	const file = "ringcast.yaml"
	for _, row := range []struct {
		name, file string
		env, args  []string
		want       []string
		unreadable bool // the file, which is no fault of the settings
	}{
		{
			name: "unknown key", file: "http: :1\n\npubic-ip: 192.0.2.1\n",
			want: []string{`unknown key "pubic-ip" in ringcast.yaml:3, did you mean "public-ip"?`},
		},
		{
			name: "key with the wrong dash", file: "public_ip: 192.0.2.1\n",
			want: []string{`unknown key "public_ip" in ringcast.yaml:1, did you mean "public-ip"?`},
		},
		{
			name: "key like no other", file: "colour: red\n",
			want: []string{`unknown key "colour" in ringcast.yaml:1; --help lists all settings`},
		},
		{
			name: "unknown variable", env: []string{"RINGCAST_WORKER=2"},
			want: []string{`unknown variable "RINGCAST_WORKER", did you mean "RINGCAST_WORKERS"?`},
		},
		{
			name: "unknown flag", args: []string{"--wrokers", "2", "-upd=:1", "--token", "x", "--zzz"},
			want: []string{
				`unknown flag "--wrokers", did you mean "--workers"?`,
				`unknown flag "--upd", did you mean "--udp"?`,
				`unknown flag "--token", did you mean "--publish-token"?`,
				`unknown flag "--zzz"; --help lists all settings`,
			},
		},
		{
			name: "flag without value", args: []string{"--http"},
			want: []string{`flag --http needs a value`},
		},
		{
			name: "not a flag", args: []string{"--takeover", "false"},
			want: []string{`argument 2 is not a flag; --help lists all settings`},
		},
		{
			name: "end of flags", args: []string{"--"},
			want: []string{`argument 1 is not a flag; --help lists all settings`},
		},
		{
			name: "numbers", file: "workers: many\n", env: []string{"RINGCAST_MAX_SESSIONS=0"},
			args: []string{"--workers", "-1"},
			want: []string{
				`invalid value "many" for workers in ringcast.yaml:1: a whole number from 0 to 256 expected`,
				`invalid value "0" for max-sessions in variable RINGCAST_MAX_SESSIONS: a whole number from 1 to ` +
					`1073741824 expected`,
				`invalid value "-1" for workers in flag --workers: a whole number from 0 to 256 expected`,
			},
		},
		{
			name: "addresses", file: "http: 8080\nudp: ::1:7000\n", env: []string{"RINGCAST_ADMIN=:99999"},
			args: []string{"--http="},
			want: []string{
				`invalid value "8080" for http in ringcast.yaml:1: ` + addressWanted,
				`invalid value "::1:7000" for udp in ringcast.yaml:2: ` + addressWanted,
				`invalid value ":99999" for admin in variable RINGCAST_ADMIN: ` + addressWanted,
				`invalid value "" for http in flag --http: ` + addressWanted,
			},
		},
		{
			name: "public addresses", file: "public-ip:\n  - 192.0.2.1\n  - 192.0.2.300\n  - [1]\n",
			env:  []string{"RINGCAST_PUBLIC_IP=192.0.2.1,,::1"},
			args: []string{"--public-ip", "0.0.0.0", "--public-ip", "fe80::1%lo"},
			want: []string{
				`invalid value for public-ip in ringcast.yaml:4: a single value expected`,
				`invalid value "192.0.2.300" for public-ip in ringcast.yaml:3: an IP address such as 192.0.2.1 or ` +
					`2001:db8::1, or a name such as media.example.org, expected`,
				`invalid value "192.0.2.1,,::1" for public-ip in variable RINGCAST_PUBLIC_IP: an IP address such ` +
					`as 192.0.2.1 or 2001:db8::1, or a name such as media.example.org, expected`,
				`invalid value "0.0.0.0" for public-ip in flag --public-ip: an IP address such as 192.0.2.1 or ` +
					`2001:db8::1, or a name such as media.example.org, expected`,
				`invalid value "fe80::1%lo" for public-ip in flag --public-ip: an IP address such as 192.0.2.1 or ` +
					`2001:db8::1, or a name such as media.example.org, expected`,
			},
		},
		{
			name: "proxies", file: "base: cast\ntrusted-proxies: [10.0.0.0/33, proxy.example.org]\n",
			env: []string{"RINGCAST_BASE=//host"},
			args: []string{
				"--base", "/whip", "--trusted-proxies=10.0.0.0/8,", "--trusted-proxies",
				"::ffff:0:0/90",
			},
			want: []string{
				`invalid value "cast" for base in ringcast.yaml:1: ` + baseWanted,
				`invalid value "10.0.0.0/33" for trusted-proxies in ringcast.yaml:2: ` + networkWanted,
				`invalid value "proxy.example.org" for trusted-proxies in ringcast.yaml:2: ` + networkWanted,
				`invalid value "//host" for base in variable RINGCAST_BASE: ` + baseWanted,
				`invalid value "/whip" for base in flag --base: a path such as /cast expected, not /whip, which is ` +
					`the server's own`,
				`invalid value "10.0.0.0/8," for trusted-proxies in flag --trusted-proxies: ` + networkWanted,
				`invalid value "::ffff:0:0/90" for trusted-proxies in flag --trusted-proxies: ` + networkWanted,
			},
		},
		{
			name: "words", file: "io: tcp\ntakeover: yes\nlog-level: loud\nlog-format: xml\ntls: yes\ngrace: 30\n",
			args: []string{"--grace", "-1s"},
			want: []string{
				`invalid value "tcp" for io in ringcast.yaml:1: auto, udp or xdp expected`,
				`invalid value "yes" for takeover in ringcast.yaml:2: true or false expected`,
				`invalid value "loud" for log-level in ringcast.yaml:3: debug, info, warn or error expected`,
				`invalid value "xml" for log-format in ringcast.yaml:4: text or json expected`,
				`invalid value "yes" for tls in ringcast.yaml:5: self or acme expected, or nothing`,
				`invalid value "30" for grace in ringcast.yaml:6: a duration such as 30s or 2m expected, not below 0`,
				`invalid value "-1s" for grace in flag --grace: a duration such as 30s or 2m expected, not below 0`,
			},
		},
		{
			name: "sizes", file: "history-memory: 15M\n", env: []string{"RINGCAST_HISTORY_MEMORY=half"},
			args: []string{"--history-memory", "-1G", "--history-memory", "1.5G"},
			want: []string{
				`invalid value "15M" for history-memory in ringcast.yaml:1: a size such as 512M or 2G expected, at ` +
					`least 16M, or 0`,
				`invalid value "half" for history-memory in variable RINGCAST_HISTORY_MEMORY: a size such as 512M ` +
					`or 2G expected, at least 16M, or 0`,
				`invalid value "-1G" for history-memory in flag --history-memory: a size such as 512M or 2G ` +
					`expected, at least 16M, or 0`,
				`invalid value "1.5G" for history-memory in flag --history-memory: a size such as 512M or 2G ` +
					`expected, at least 16M, or 0`,
			},
		},
		{
			name: "switches of AF_XDP", file: "guard: auto\nzerocopy: on\nchecksum4: 1\nstun-rate: 0\ndscp: 64\n",
			args: []string{
				"--interface", "eth0:1", "--interface", "averyveryverylongname", "--busy-poll=x", "--dscp",
				"af42",
			},
			want: []string{
				`invalid value "auto" for guard in ringcast.yaml:1: off or on expected`,
				`invalid value "on" for zerocopy in ringcast.yaml:2: off or auto expected`,
				`invalid value "1" for checksum4 in ringcast.yaml:3: off or on expected`,
				`invalid value "0" for stun-rate in ringcast.yaml:4: a whole number from 1 to 1000000 expected`,
				`invalid value "64" for dscp in ringcast.yaml:5: none, af41, ef or a whole number from 0 to 63 ` +
					`expected`,
				`invalid value "eth0:1" for interface in flag --interface: the name of a network interface, such ` +
					`as eth0, expected`,
				`invalid value "averyveryverylongname" for interface in flag --interface: the name of a network ` +
					`interface, such as eth0, expected`,
				`invalid value "x" for busy-poll in flag --busy-poll: true or false expected`,
				`invalid value "af42" for dscp in flag --dscp: none, af41, ef or a whole number from 0 to 63 expected`,
			},
		},
		{
			name: "rates", file: "start-rate: fast\nadapt: auto\n", env: []string{"RINGCAST_START_RATE=2000M"},
			args: []string{"--start-rate", "9k"},
			want: []string{
				`invalid value "fast" for start-rate in ringcast.yaml:1: a rate in bits a second, such as 800k or ` +
					`2.5M, expected`,
				`invalid value "auto" for adapt in ringcast.yaml:2: off or on expected`,
				`invalid value "2000M" for start-rate in variable RINGCAST_START_RATE: a rate from 10k to 1000M ` +
					`expected`,
				`invalid value "9k" for start-rate in flag --start-rate: a rate from 10k to 1000M expected`,
			},
		},
		{
			name: "cores", file: "cpus:\n  - 0-1\n  - 1\n", env: []string{"RINGCAST_CPUS=3-2"},
			args: []string{"--cpus", "0,,1", "--cpus", "8192", "--cpus", "-1", "--cpus", "1-"},
			want: []string{
				`invalid value "1" for cpus in ringcast.yaml:3: core 1 is named twice`,
				`invalid value "3-2" for cpus in variable RINGCAST_CPUS: numbers of cores such as 0,2-3 expected`,
				`invalid value "0,,1" for cpus in flag --cpus: numbers of cores such as 0,2-3 expected`,
				`invalid value "8192" for cpus in flag --cpus: numbers of cores such as 0,2-3 expected`,
				`invalid value "-1" for cpus in flag --cpus: numbers of cores such as 0,2-3 expected`,
				`invalid value "1-" for cpus in flag --cpus: numbers of cores such as 0,2-3 expected`,
			},
		},
		{
			name: "tokens", file: "publish-token: \"with space\"\n", env: []string{"RINGCAST_VIEW_TOKEN="},
			args: []string{"--view-token", "line\n"},
			want: []string{
				`invalid value for publish-token in ringcast.yaml:1: visible ASCII characters without spaces expected`,
				`invalid value for view-token in variable RINGCAST_VIEW_TOKEN: it is empty; leave the setting out ` +
					`to ask for none`,
				`invalid value for view-token in flag --view-token: visible ASCII characters without spaces expected`,
			},
		},
		{
			name: "shapes", file: "io:\nworkers: [1]\nhttp: {a: b}\npublish-token: &x abc\nview-token: *x\nconfig: " +
				"other.yaml\n",
			want: []string{
				`invalid value for io in ringcast.yaml:1: there is none`,
				`invalid value for workers in ringcast.yaml:2: a single value expected`,
				`invalid value for http in ringcast.yaml:3: a single value expected`,
				`invalid value for publish-token in ringcast.yaml:4: a single value expected`,
				`invalid value for view-token in ringcast.yaml:5: a single value expected`,
				`key "config" in ringcast.yaml:6: only a flag or RINGCAST_CONFIG can give it`,
			},
		},
		{
			name: "certificate without key", args: []string{"--tls-cert", "c.pem"},
			want: []string{`tls-cert in flag --tls-cert needs tls-key too`},
		},
		{
			name: "key without certificate", file: "tls-key: k.pem",
			want: []string{`tls-key in ringcast.yaml:1 needs tls-cert too`},
		},
		{
			name: "two certificates", file: "tls: self",
			env:  []string{"RINGCAST_TLS_CERT=c.pem", "RINGCAST_TLS_KEY=k.pem"},
			want: []string{`tls in ringcast.yaml:1 and tls-cert in variable RINGCAST_TLS_CERT exclude each other`},
		},
		{
			name: "self-signed with a key", args: []string{"--tls=self", "--tls-key=k.pem"},
			want: []string{`tls in flag --tls and tls-key in flag --tls-key exclude each other`},
		},
		{
			name: "a CA and files", args: []string{"--tls=acme", "--host=a.example.org", "--tls-cert=c.pem"},
			want: []string{`tls in flag --tls and tls-cert in flag --tls-cert exclude each other`},
		},
		{
			name: "a CA without a host", args: []string{"--tls=acme"},
			want: []string{`tls in flag --tls needs host too`},
		},
		{
			name: "TURN without its secret", args: []string{"--ice-server=turn:a"},
			want: []string{`ice-server in flag --ice-server has a TURN server and needs turn-secret too`},
		},
		{
			name: "pages and servers", args: []string{"--frame-ancestors=example.org", "--ice-server=turn:a;b"},
			env: []string{"RINGCAST_FRAME_ANCESTORS=none,*"},
			want: []string{
				`invalid value "none,*" for frame-ancestors in variable RINGCAST_FRAME_ANCESTORS: ` +
					`none excludes all others`,
				`invalid value "example.org" for frame-ancestors in flag --frame-ancestors: ` +
					`self, none, * or an origin such as https://example.org or https://*.example.org expected`,
				`invalid value for ice-server in flag --ice-server: ` +
					`a URL such as stun:stun.example.org:3478 or turn:turn.example.org?transport=udp expected`,
			},
		},
		{
			name: "names that no CA certifies",
			args: []string{"--host=media,a.example.org", "--host", "*.example.org", "--host=192.0.2.7"},
			env:  []string{"RINGCAST_ACME_EMAIL=Ops <a@example.org>", "RINGCAST_ACME_DIRECTORY=http://ca.example"},
			want: []string{
				`invalid value for acme-directory in variable RINGCAST_ACME_DIRECTORY: ` +
					`a URL such as https://acme.example.org/directory expected`,
				`invalid value "Ops <a@example.org>" for acme-email in variable RINGCAST_ACME_EMAIL: ` +
					`an address such as ops@example.org expected`,
				`invalid value "media,a.example.org" for host in flag --host: ` +
					`a full name such as media.example.org expected, neither an address nor a wildcard`,
				`invalid value "*.example.org" for host in flag --host: ` +
					`a full name such as media.example.org expected, neither an address nor a wildcard`,
				`invalid value "192.0.2.7" for host in flag --host: ` +
					`a full name such as media.example.org expected, neither an address nor a wildcard`,
			},
		},
		{
			name: "addresses of services", file: "jwt-keys: ftp://h/\n",
			env:  []string{"RINGCAST_AUTH_URL=auth.example.org"},
			args: []string{"--auth-url", "https://user:word@h/", "--token-grace", "-1s"},
			want: []string{
				`invalid value for jwt-keys in ringcast.yaml:1: ` + serviceWanted,
				`invalid value for auth-url in variable RINGCAST_AUTH_URL: ` + serviceWanted,
				`invalid value for auth-url in flag --auth-url: ` + serviceWanted,
				`invalid value "-1s" for token-grace in flag --token-grace: a duration such as 30s or 2m expected, ` +
					`not below 0`,
			},
		},
		{
			name: "two gates", file: "jwt-keys: k", args: []string{"--auth-url", "http://h/"},
			want: []string{`jwt-keys in ringcast.yaml:1 and auth-url in flag --auth-url exclude each other`},
		},
		{
			name: "a gate for nobody", file: "jwt-keys: k", args: []string{"--publish-token", "a", "--view-token=b"},
			want: []string{
				`jwt-keys in ringcast.yaml:1 guards nobody, since publish-token in flag --publish-token and ` +
					`view-token in flag --view-token guard both roles`,
			},
		},
		{
			name: "issuer without keys", args: []string{"--jwt-issuer", "i"},
			want: []string{`jwt-issuer in flag --jwt-issuer needs jwt-keys too`},
		},
		{
			name: "audience without keys", args: []string{"--jwt-audience", "a"},
			want: []string{`jwt-audience in flag --jwt-audience needs jwt-keys too`},
		},
		{
			name: "secret without a service", args: []string{"--auth-secret", "s"},
			want: []string{`auth-secret in flag --auth-secret needs auth-url too`},
		},
		{
			name: "service without a secret", args: []string{"--auth-url", "http://h/"},
			want: []string{`auth-url in flag --auth-url needs auth-secret too`},
		},
		{
			name: "key twice", file: "io: udp\nhttp: :1\nio: auto\n",
			want: []string{`config: ringcast.yaml:3: mapping key "io" already defined at [1:1]`},
		},
		{
			name: "not YAML", file: "io: udp\n\tview-token: s3cret\n",
			want: []string{`config: ringcast.yaml:2: found character '\t' that cannot start any token`},
		},
		{
			name: "passwords in URLs",
			args: []string{
				"--auth-url=https://u:s3cret@h/", "--jwt-keys=https://u:s3cret@h/", "--hook-url=ftp://u:s3cret@h/",
				"--ice-server=turn:u:s3cret@h", "--acme-directory=https://u:s3cret@h/",
			},
			want: []string{
				"invalid value for auth-url in flag --auth-url: a URL such as https://auth.example.org/path expected",
				"invalid value for jwt-keys in flag --jwt-keys: a URL such as https://auth.example.org/path expected",
				"invalid value for hook-url in flag --hook-url: a URL such as " +
					"https://hooks.example.org/ringcast expected",
				"invalid value for ice-server in flag --ice-server: a URL such as stun:stun.example.org:3478 or " +
					"turn:turn.example.org?transport=udp expected",
				"invalid value for acme-directory in flag --acme-directory: a URL such as " +
					"https://acme.example.org/directory expected",
			},
		},
		{
			name: "secret in a mangled value", file: "view-token: |s3cret\n",
			want: []string{`config: ringcast.yaml:1: invalid header option`},
		},
		{
			name: "not a mapping", file: "- s3cret\n",
			want: []string{`config: ringcast.yaml:1: lines of the form "key: value" expected`},
		},
		{
			name: "two documents", file: "io: udp\n---\nio: auto\n",
			want: []string{`config: ringcast.yaml:3: only one document expected`},
		},
		{
			name: "no file", args: []string{"--config", "missing.yaml"}, unreadable: true,
			want: []string{`config: open missing.yaml: no such file or directory`},
		},
		{
			name: "directory for a file", args: []string{"--config", "."}, unreadable: true,
			want: []string{`config: read .: is a directory`},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.file != "" {
				write(t, row.file)
				row.args = append([]string{"--config", file}, row.args...)
			}
			_, err := Load(row.args, row.env)
			if got, want := fmt.Sprint(err), strings.Join(row.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if path := (*fs.PathError)(nil); errors.As(err, &path) != row.unreadable {
				t.Errorf("got %v of package fs, want one: %t", err, row.unreadable)
			}
		})
	}
}

func TestNearest(t *testing.T) {
	flag := func(s *setting) string { return "--" + s.key }
	for name, want := range map[string]string{
		"--htpp": "http", "--pubic-ip": "public-ip", "--publicip": "public-ip", "--public-ips": "public-ip",
		"--max-session": "max-sessions", "--LOG_LEVEL": "log-level", "--graze": "grace", "--upd": "udp",
		"--tls-crt": "tls-cert", "--cert": "tls-cert", "--log": "log-level", "--view-tokens": "view-token",
		"--worker": "workers", "--take-over": "takeover", "--foo": "", "--bitrate": "max-bitrate", "--": "", "": "",
	} {
		got := ""
		if s := nearest(name, flag); s != nil {
			got = s.key
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, row := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"abc", "", 3},
		{"abc", "abc", 0},
		{"abc", "abd", 1},
		{"abc", "acb", 1},
		{"abc", "ab", 1},
		{"abc", "xabc", 1},
		{"abcd", "badc", 2},
		{"kitten", "sitting", 3},
	} {
		if got := distance(row.a, row.b); got != row.want {
			t.Errorf("%q to %q: got %d, want %d", row.a, row.b, got, row.want)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, arg := range []string{"--help", "-h", "-help"} {
		environ := []string{"RINGCAST_PUBLISH_TOKEN=s3cret", "RINGCAST_WORKERS=nonsense"}
		if _, err := Load([]string{"--view-token", "s3cret", arg}, environ); !errors.Is(err, ErrHelp) {
			t.Errorf("%s: got %v, want %v", arg, err, ErrHelp)
		}
	}
	var b strings.Builder
	PrintHelp(&b)
	text := b.String()
	for i := range settings {
		s := &settings[i]
		spelled := "--" + s.key + " "
		if s.noFlag {
			spelled = s.key + ": "
		}
		head, rest, ok := strings.Cut(text, spelled)
		line, _, _ := strings.Cut(rest, "\n  --")
		if !ok || !strings.HasSuffix(head, "\n  ") || !strings.Contains(line, s.env()) || !strings.Contains(line,
			s.help) ||
			s.initial != "" && !strings.Contains(line, "(default "+s.initial+")") {
			t.Errorf("%s is not described:\n%s", s.key, line)
		}
	}
}

// The table in docs/operations.md has every setting, and its default unless words say more.
func TestDocumentedSettings(t *testing.T) {
	content, err := os.ReadFile("../../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(content), "| flag | variable | default | meaning |\n|---|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")
	if len(rows) != len(settings) {
		t.Errorf("%d rows for %d settings", len(rows), len(settings))
	}
	for i := range min(len(rows), len(settings)) {
		s := &settings[i]
		cells := strings.Split(rows[i], " | ")
		flag, _, _ := strings.Cut(strings.Trim(cells[0], "| `"), " ")
		name := "--" + s.key
		if s.noFlag {
			name = s.key
		}
		if strings.Trim(flag, "`") != name || len(cells) < 3 || strings.Trim(cells[1], "| `") != s.env() {
			t.Errorf("where --%s and %s belong: %s", s.key, s.env(), rows[i])
		} else if initial := strings.Trim(cells[2], "| `"); initial != s.initial &&
			s.initial != "" && s.initial != "0" {
			t.Errorf("--%s: the default is %s: %s", s.key, s.initial, rows[i])
		}
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "1": 1, "4096": 4096, "1k": 1 << 10, "512M": 512 << 20, "512MB": 512 << 20, "2GiB": 2 << 30,
		"1T": 1 << 40, "7B": 7,
		"": -1, "M": -1, "-1": -1, "+1": -1, "1.5G": -1, "1X": -1, "1KM": -1, "1iB": -1, "1i": -1, "1 G": -1,
		"9999999T":             -1,
		"99999999999999999999": -1, "0x10": -1, "1GG": -1, "1BB": -1,
	} {
		n, ok := parseSize(s)
		if !ok {
			n = -1
		}
		if n != want {
			t.Errorf("%q is %d bytes; expected %d", s, n, want)
		}
	}
}

// The file that --help shows is one.
func TestHelpExample(t *testing.T) {
	_, rest, ok := strings.Cut(helpTail, "with this file:\n")
	example, _, ended := strings.Cut(rest, "\n\n")
	if !ok || !ended {
		t.Fatal("no example")
	}
	path := filepath.Join(t.TempDir(), "example.yaml")
	if err := os.WriteFile(path, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load([]string{"--config", path}, nil)
	if err != nil || c.HTTP != ":443" || len(c.Engine.Public.Public) != 2 || c.Engine.Sessions.Grace.Minutes() != 1 {
		t.Errorf("%v, %+v", err, c)
	}
}

func TestSecretsHide(t *testing.T) {
	c, err := Load([]string{"--publish-token", "s3cret", "--view-token", "s3cret"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	j, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	for _, asJSON := range []bool{false, true} {
		logging.Config{JSON: asJSON}.New(&logged).Info("x", "config", c, "token", c.Signaling.ViewToken,
			slog.Any("p", &c))
	}
	text := fmt.Sprintf("%v %+v %#v %s %v %s %s %s", c, c, c, c.Signaling.ViewToken, &c, c.Signaling.PublishToken, j,
		&logged)
	if strings.Contains(text, "s3cret") || !strings.Contains(text, "hidden") {
		t.Error(text)
	}
	if signaling.Secret("").String() != "none" {
		t.Error("an empty secret is none")
	}
}

// Settings reach the engine's configuration, and no setting leaves a default of the engine's for zero.
func TestEngineConfig(t *testing.T) {
	c, err := Load([]string{
		"--takeover", "--grace", "5s", "--max-sessions", "7", "--max-pending", "3", "--workers", "2",
		"--public-ip", "192.0.2.1", "--history-memory", "1G",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := engine.SessionConfig{Max: 7, MaxPending: 3, Grace: 5 * time.Second, Takeover: true}
	if e := c.Engine; e.Sessions != want || e.Workers != 2 || len(e.Public.Public) != 1 || e.HistoryMemory != 1<<30 {
		t.Errorf("got %+v, want sessions %+v", e, want)
	}
	c, err = Load([]string{
		"--io", "xdp", "--interface", "eth0", "--interface", "eth1", "--zerocopy", "off", "--generic", "--guard",
		"off", "--stun-rate", "9",
		"--checksum4", "off", "--dscp", "af41", "--batching", "messages", "--busy-poll", "--cpus", "0,2-3",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, h := c.Engine, c.Engine.Host
	if h.IO != host.OnlyXDP || !slices.Equal(h.Interfaces,
		[]string{"eth0", "eth1"}) || h.Zerocopy || !h.Generic || e.Guard || e.STUNRate != 9 ||
		e.Checksum4 || e.DSCP != 34 || e.Batching != udp.Messages || !h.BusyPoll || !slices.Equal(h.CPUs,
		[]int{0, 2, 3}) {
		t.Errorf("%+v", e)
	}
	if c, err := Load([]string{"--publish-token", "s3cret"}, nil); err != nil || !c.Engine.Sessions.Reserve {
		t.Errorf("with a token nothing is reserved for publishers that show it; %v", err)
	}
	if c, err := Load([]string{"--grace", "0"},
		nil); err != nil || c.Engine.Sessions.Reserve || c.Engine.Sessions.Grace != 0 {
		t.Errorf("got %+v, %v, want no reserve without a token, and no grace", c.Engine.Sessions, err)
	}
}

// The defaults of the settings are the engine's own.
func TestDefaults(t *testing.T) {
	c, err := Load(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, want := c.Engine, engine.DefaultConfig()
	got.Public.Lookup, want.Public.Lookup = nil, nil // functions are never equal
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// FuzzFile looks for files that make the YAML package panic or a message take two lines.
func FuzzFile(f *testing.F) {
	f.Add("http: :1\npublic-ip: [a, b]\n")
	f.Add("? a\n: b\n--- |\n x\n")
	f.Add("a: &b *c\n<<: {x: !!str y}\n")
	f.Add("%YAML 1.2\n---\n\"a\": 'b'\n...\n")
	path := filepath.Join(f.TempDir(), "x")
	f.Fuzz(func(t *testing.T, content string) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readFile(path)
		for err := range flatten(err) {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("%q", err)
			}
		}
	})
}

func flatten(err error) func(func(error) bool) {
	return func(yield func(error) bool) {
		joined, ok := err.(interface{ Unwrap() []error })
		switch {
		case err == nil:
		case !ok:
			yield(err)
		default:
			for _, e := range joined.Unwrap() {
				flatten(e)(yield)
			}
		}
	}
}
