package cmd_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"

	"github.com/rivulet-rt/rivulet/cmd"
)

const secretVariable = "RIVULET_AUTH_HMAC_SECRET=0123456789abcdef0123456789abcdef"

func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// docBlock returns the code block of docs/configuration.md that follows a mark.
func docBlock(t testing.TB, mark string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "<!-- test: "+mark+" -->\n```yaml\n")
	block, _, closed := strings.Cut(rest, "```\n")
	if !ok || !closed {
		t.Fatalf("docs/configuration.md has no block marked %q", mark)
	}
	return block
}

func toYAML(t testing.TB, v any) string {
	t.Helper()
	text, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDocumentedDefaultsAreTheDefaults(t *testing.T) {
	file := writeFile(t, "rivulet.yaml", docBlock(t, "defaults"))
	cfg, err := cmd.Load(cmd.Sources{File: file})
	if err != nil {
		t.Fatal(err)
	}
	got, want := toYAML(t, cfg), toYAML(t, cmd.DefaultConfig())
	if got != want {
		t.Errorf("the documented defaults are\n%s\nthe real ones\n%s", got, want)
	}
	var all, documented map[string]any
	if err := yaml.Unmarshal([]byte(want), &all); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(docBlock(t, "defaults")), &documented); err != nil {
		t.Fatal(err)
	}
	for _, key := range leaves(all, "") {
		if !slices.Contains(leaves(documented, ""), key) {
			t.Errorf("%s is not documented", key)
		}
	}
}

func TestEveryNamespaceKeyIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	if err := yaml.Unmarshal([]byte(toYAML(t, cmd.NamespaceConfig{})), &keys); err != nil {
		t.Fatal(err)
	}
	for key := range keys {
		if !strings.Contains(string(text), "| `"+key+"` |") {
			t.Errorf("the table of namespaces has no %s", key)
		}
	}
}

func leaves(m map[string]any, prefix string) []string {
	var keys []string
	for k, v := range m {
		if group, ok := v.(map[string]any); ok && len(group) > 0 {
			keys = append(keys, leaves(group, prefix+k+".")...)
		} else {
			keys = append(keys, prefix+k)
		}
	}
	return keys
}

func TestExampleIsValid(t *testing.T) {
	cfg, err := cmd.Load(cmd.Sources{File: writeFile(t, "rivulet.yaml", docBlock(t, "example"))})
	if err != nil {
		t.Fatal(err)
	}
	if got := time.Duration(cfg.Namespaces["chat"].MaxAge); got != 30*24*time.Hour {
		t.Errorf("chat keeps messages for %v, want 30 days", got)
	}
	if cfg.Namespaces["orders"].MaxAge != cmd.Unlimited || len(cfg.Auth.Keys) != 1 || cfg.Broker.DiskBudget != 64<<30 {
		t.Errorf("the example was read as\n%s", toYAML(t, cfg))
	}
}

func TestLaterSourcesOverride(t *testing.T) {
	file := writeFile(t, "rivulet.yaml", "broker: {data: from-file, sync: always}\nserver: {listen: ':1'}\nlog: {level: warn}\n")
	cfg, err := cmd.Load(cmd.Sources{
		Environ: []string{
			"RIVULET_CONFIG=" + file, "RIVULET_LISTEN=:2", "RIVULET_BROKER_DISK_BUDGET=3GiB", "RIVULET_SESSION_ORIGINS=https://a.example, https://b.example",
			"RIVULET_NAMESPACES={chat: {max_age: 2d}, b-2: {}}", "RIVULET_URL=http://elsewhere", "RIVULET_DATA=from-env", "PATH=/bin",
			"RIVULET_SERVICE_HOST=10.0.0.1", "RIVULET_PORT=tcp://10.0.0.1:80", "RIVULET_PORT_8080_TCP_ADDR=10.0.0.1", "RIVULET_NATS_SERVICE_PORT_CLIENT=4222",
		},
		Flags: []cmd.Setting{{Flag: "--data", Key: "broker.data", Value: "from-flag"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ what, got, want string }{
		{"flag over environment", cfg.Broker.Data, "from-flag"},
		{"environment over file", cfg.Server.Listen, ":2"},
		{"file over default", cfg.Broker.Sync, "always"},
		{"file alone", cfg.Log.Level, "warn"},
		{"default", cfg.Log.Format, "auto"},
		{"bytes", cfg.Broker.DiskBudget.String(), "3GiB"},
		{"list", strings.Join(cfg.Session.Origins, "|"), "https://a.example|https://b.example"},
		{"namespaces", cfg.Namespaces["chat"].MaxAge.String(), "2d"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, c.got, c.want)
		}
	}
}

func TestRIVULETCONFIGYieldsToTheFlag(t *testing.T) {
	cfg, err := cmd.Load(cmd.Sources{
		File:    writeFile(t, "a.yaml", "server: {listen: ':1'}"),
		Environ: []string{"RIVULET_CONFIG=" + writeFile(t, "b.yaml", "server: {listen: ':2'}")},
	})
	if err != nil || cfg.Server.Listen != ":1" {
		t.Errorf("listen is %q, error %v; want :1", cfg.Server.Listen, err)
	}
}

func TestBadConfigurationsAreNamed(t *testing.T) {
	for _, tc := range []struct {
		name    string
		file    string
		environ []string
		flags   []cmd.Setting
		want    []string
		not     string // all must be in the error
	}{
		{name: "misspelt key", file: "broker:\n  replica: 3\n", want: []string{"rivulet.yaml:2: broker.replica: unknown key; did you mean replicas?"}},
		{name: "misspelt group", file: "sesion: {}\n", want: []string{"rivulet.yaml:1: sesion: unknown key; did you mean session?"}},
		{name: "foreign key", file: "zzzzzz: 1\n", want: []string{"zzzzzz: unknown key; the keys here are dev, server"}},
		{name: "misspelt namespace key", file: "namespaces:\n  chat:\n    maxage: 1h\n", want: []string{"rivulet.yaml:3: namespaces.chat.maxage: unknown key; did you mean max_age?"}},
		{name: "twice", file: "dev: true\ndev: false\n", want: []string{"rivulet.yaml:2: dev: is given twice"}},
		{name: "not a group", file: "broker: 5\n", want: []string{"rivulet.yaml:1: broker: must be a group of keys"}},
		{name: "not a map at all", file: "- a\n", want: []string{"the configuration: must be a group of keys"}},
		{name: "not YAML", file: "a: [", want: []string{"rivulet.yaml: yaml:"}},
		{name: "bad duration", file: "server: {stop_timeout: soon}", want: []string{`server.stop_timeout: "soon" is not a span of time; write for example`}},
		{name: "bad bytes", file: "broker: {disk_budget: much}", want: []string{`broker.disk_budget: "much" is not an amount of bytes`}},
		{name: "bad bool", file: "dev: maybe", want: []string{`dev: "maybe" must be true or false`}},
		{name: "bad number", file: "broker: {replicas: x}", want: []string{`broker.replicas: "x" must be a whole number`}},
		{name: "list for a value", file: "broker: {disk_budget: [1]}", want: []string{"broker.disk_budget: must be a single value"}},
		{name: "value for a list", file: "auth: {keys: a}", want: []string{"auth.keys: must be a list"}},
		{name: "key in a list", file: "auth: {keys: [{nam: a}]}", want: []string{"auth.keys[0].nam: unknown key; did you mean name?"}},

		{name: "unknown variable", environ: []string{"RIVULET_LISTN=:1"}, want: []string{"environment: RIVULET_LISTN: unknown variable; did you mean RIVULET_LISTEN?"}},
		{name: "bad variable", environ: []string{"RIVULET_BROKER_REPLICAS=many"}, want: []string{`environment: RIVULET_BROKER_REPLICAS: broker.replicas: "many" must be a whole number`}},
		{name: "unknown set key", flags: []cmd.Setting{{"--set", "listen", ":1"}}, want: []string{"--set: listen: unknown key; did you mean server.listen?"}},
		{name: "group as a set key", flags: []cmd.Setting{{"--set", "server", ":1"}}, want: []string{"--set: server: is a section, not a value; set one of its keys: server.listen, server.stop_timeout"}},
		{name: "no key", flags: []cmd.Setting{{"--set", "", ":1"}}, want: []string{"--set: : unknown key"}},
		{name: "no key in a group", flags: []cmd.Setting{{"--set", "server.", "true"}}, want: []string{"--set: server.: unknown key"}},
		{name: "empty key", file: "'': 1\nserver: {'': true}\n", want: []string{"rivulet.yaml:1: : unknown key", "rivulet.yaml:2: server.: unknown key"}},
		{name: "tab", file: "broker:\n  data: x\n\tsync: always\n", want: []string{"rivulet.yaml: yaml:", "line 3 is indented with a tab; YAML takes only spaces"}},
		{name: "flag of a bad value", flags: []cmd.Setting{{"--sync", "broker.sync", "never"}}, want: []string{`--sync: broker.sync: "never" is not one of`}},
		{name: "variable of a bad value", environ: []string{"RIVULET_SYNC=never"}, want: []string{`environment: RIVULET_SYNC: broker.sync: "never" is not one of`}},
		{name: "flag over variable", environ: []string{"RIVULET_SYNC=x"}, flags: []cmd.Setting{{"--sync", "broker.sync", "y"}}, want: []string{`--sync: broker.sync: "y"`}, not: "RIVULET_SYNC"},
		{
			name: "variable of a bad namespace", environ: []string{"RIVULET_NAMESPACES={chat: {replicas: 2}}"},
			want: []string{"environment: RIVULET_NAMESPACES: namespaces.chat.replicas: 2 is not"},
		},
		{name: "file of a bad value", file: "broker: {sync: never}", want: []string{`broker.sync: "never"`}, not: ": broker.sync"},
		{name: "bad YAML in a variable", environ: []string{"RIVULET_NAMESPACES={"}, want: []string{"RIVULET_NAMESPACES: namespaces: is not a value that YAML can read"}},

		{name: "listen", file: "server: {listen: nowhere}", want: []string{`server.listen: "nowhere" is not host:port; write for example :8080`}},
		{name: "port", file: "server: {listen: ':99999'}", want: []string{`server.listen: ":99999" has the port "99999"; it must be 0 to 65535`}},
		{name: "dev on all interfaces", file: "dev: true\nserver: {listen: ':8080'}", want: []string{"server.listen:", "dev lets everybody in", "127.0.0.1"}},
		{name: "dev on an address", file: "dev: true\nserver: {listen: '192.168.0.1:8080'}", want: []string{"dev lets everybody in"}},
		{name: "dev with auth", file: "dev: true", environ: []string{secretVariable}, want: []string{"dev: lets everybody in, and auth is configured"}},
		{name: "sync", file: "broker: {sync: sometimes}", want: []string{`broker.sync: "sometimes" is not one of interval, always`}},
		{name: "replicas", file: "broker: {replicas: 2}", want: []string{"broker.replicas: 2 is not one of 1, 3, 5"}},
		{name: "replicas without cluster", file: "broker: {replicas: 3}", want: []string{"broker.replicas: 3 needs a NATS cluster; set broker.nats_url"}},
		{name: "nats url", file: "broker: {nats_url: 'http://user:hush@host'}", want: []string{"broker.nats_url: one of its addresses is not like nats://host:4222"}},
		{name: "credentials without url", file: "broker: {nats_credentials: x}", want: []string{"broker.nats_credentials: is only for broker.nats_url"}},
		{name: "no data", file: "broker: {data: ''}", want: []string{"broker.data: is empty"}},
		{name: "namespace name", file: "namespaces: {Chat: {}}", want: []string{`namespaces.Chat: the name "Chat" must have 1 to 32 characters of a-z, 0-9 and -`}},
		{name: "short age", file: "namespaces: {chat: {max_age: 1ms}}", want: []string{"namespaces.chat.max_age: 1ms must be at least 1s, or unlimited"}, not: "negative"},
		{name: "namespace bound", file: "namespaces: {chat: {max_message_bytes: 1GiB}}", want: []string{"namespaces.chat.max_message_bytes: 1GiB must be from 1 to 4MiB"}},
		{
			name: "all of a namespace", file: "namespaces: {chat: {max_message_bytes: 1GiB, replicas: 2, duplicate_window: 25h, max_age: unlimited}}",
			want: []string{".max_message_bytes: 1GiB", ".replicas: 2 is not one of 1, 3, 5", ".duplicate_window: 25h must be from 100ms to 24h"}, not: "NATS cluster",
		},
		{name: "namespace replicas", file: "namespaces: {chat: {replicas: 3}}", want: []string{"namespaces.chat.replicas: 3 needs a NATS cluster"}, not: "1, 3 or 5"},
		{name: "negative replicas", file: "namespaces: {chat: {replicas: -1}}", want: []string{"namespaces.chat.replicas: -1 is not one of 1, 3, 5"}},
		{name: "window over age", file: "namespaces: {chat: {max_age: 1m, duplicate_window: 2m}}", want: []string{"namespaces.chat.duplicate_window: 2m must not be above max_age (1m)"}},
		{name: "negative age", file: "namespaces: {chat: {max_age: -5s}}", want: []string{"namespaces.chat.max_age: -5s must be at least 1s, or unlimited"}},
		{name: "negative bytes", file: "namespaces: {chat: {max_bytes: -1}}", want: []string{"namespaces.chat.max_bytes: -1 must be at least 4608KiB"}},
		{
			name: "durable sessions", file: "namespaces: {chat: {session_store: disk, session_ttl: 5s, max_sessions: -1, max_session_channels: 1000}}",
			want: []string{
				`namespaces.chat.session_store: "disk" must be consumer, kv or off`, "namespaces.chat.session_ttl: 5s must be at least 10s",
				"namespaces.chat.max_sessions: -1 must be 1 to", "namespaces.chat.max_session_channels: 1000 must be 1 to 256",
			},
		},
		{
			name: "rare flushes", file: "session: {flush_interval: 3s}\nnamespaces: {chat: {session_ttl: 10s}}",
			want: []string{"namespaces.chat.session_ttl: 10s must be at least 12s, four times session.flush_interval"},
		},
		{name: "conflate", file: "namespaces: {chat: {conflate: first}}", want: []string{`namespaces.chat.conflate: is "first", must be key or last`}},
		{name: "rate alone", file: "namespaces: {chat: {max_rate: 5}}", want: []string{"namespaces.chat.max_rate: needs conflate"}},
		{name: "rate", file: "namespaces: {chat: {conflate: key, max_rate: 1001}}", want: []string{"namespaces.chat.max_rate: is 1001, must be from 1 to 1000"}},
		{
			name: "groups", file: "namespaces: {chat: {group_ack_wait: 1ms, group_max_deliver: -1, group_backoff: [1s, 48h], group_max_in_flight: 1000000, group_expire: 1s, max_groups: -5}}",
			want: []string{
				"namespaces.chat.group_ack_wait: 1ms must be 100ms to", "namespaces.chat.group_max_deliver: -1 must be 1 to 1000",
				"namespaces.chat.group_backoff: [1s 48h0m0s] must be waits from 0 to", "namespaces.chat.group_max_in_flight: 1000000 must be 1 to 100000",
				"namespaces.chat.group_expire: 1s must be at least 1m", "namespaces.chat.max_groups: -5 must be 1 to 10000",
			},
		},
		{
			name: "over the budget", file: "broker: {disk_budget: 2GiB}\nnamespaces: {a: {max_bytes: 1GiB}, b: {}}",
			want: []string{"broker.disk_budget: is 2GiB; the max_bytes of the namespaces add up to 2GiB, and 120MiB more are needed"},
		},
		{
			name: "over the budget with webhooks", file: "broker: {disk_budget: 2GiB}\nnamespaces: {default: {max_bytes: 1GiB}}\nevents: {max_bytes: 1GiB}\n" + oneWebhook("url: 'https://a.example'"),
			want: []string{"broker.disk_budget: is 2GiB; the max_bytes of the namespaces add up to 1GiB, and 1368MiB more are needed"},
		},
		{
			name: "webhook without anything", file: "webhooks: [{name: a}]",
			want: []string{"webhooks.a: url is not set", "webhooks.a: secret is not set", "webhooks.a: events is empty", "webhooks.a: channels is empty"},
		},
		{name: "webhook without a name", file: "webhooks: [{url: 'https://a.example'}]", want: []string{`webhooks.0: name is ""`}},
		{
			name: "webhook of unknown things", file: oneWebhook("events: [message.sent], channels: ['nope:>', 'default:x'], dead_letters: 'other:x'"),
			want: []string{
				`webhooks.a: events is "message.sent", must be of [channel.occupied`,
				`webhooks.a: channels: nope:>: the namespace "nope" is not configured under namespaces`,
				`webhooks.a: dead_letters: other:x: the namespace "other" is not configured; name a channel of one that is, or none`,
			},
		},
		{name: "webhook of no channel", file: oneWebhook("channels: ['a..b']"), want: []string{"webhooks.a: channels: "}},
		{name: "webhook over http", file: oneWebhook("url: 'http://a.example/x'"), want: []string{`webhooks.a: url is "http://a.example/x", must be https`}},
		{name: "webhook twice", file: "webhooks: [" + oneHook("") + ", " + oneHook("") + "]", want: []string{"webhooks.a: the name is used twice"}},
		{
			name: "webhook with two secrets", file: oneWebhook("secret_file: /nowhere"),
			want: []string{"webhooks.a: secret_file: secret is set too; keep one"},
		},
		{
			name: "webhook of no inboxes", file: oneWebhook("events: [message.undelivered]"),
			want: []string{"webhooks.a: events: message.undelivered never happens in its channels; set undelivered_after"},
		},
		{
			name: "webhook of no presence", file: oneWebhook("events: [member.joined]"),
			want: []string{"webhooks.a: events: member.joined never happens in its channels; set presence: true"},
		},
		{name: "undelivered at once", file: "namespaces: {user: {undelivered_after: 3s}}", want: []string{"namespaces.user.undelivered_after: 3s must be from 4s (twice session.flush_interval, and a second) to 7d, or 0 for off"}},
		{name: "undelivered after its sessions", file: "namespaces: {user: {undelivered_after: 2h, session_ttl: 1h}}", want: []string{"namespaces.user.undelivered_after: 2h must be at most session_ttl (1h)"}},
		{name: "undelivered after sessions that expire by default", file: "namespaces: {user: {undelivered_after: 2d}}", want: []string{"namespaces.user.undelivered_after: 2d must be at most session_ttl, which is 1d where it is not set"}},
		{name: "undelivered too late", file: "namespaces: {user: {undelivered_after: 2h, max_age: 1h}}", want: []string{"namespaces.user.undelivered_after: 2h must be below max_age (1h)"}},
		{name: "events", file: "events: {max_age: 1s, max_bytes: 1MiB, vacated_after: 2h}", want: []string{"events.max_age: 1s must be from 1m to 30d", "events.max_bytes: 1MiB must be at least 16MiB", "events.vacated_after: 2h must be from 0s to 1h"}},
		{name: "over any budget", file: "namespaces: {a: {max_bytes: 16GiB}}", want: []string{"broker.disk_budget: is not set, and so at most 16GiB; the max_bytes"}},
		{name: "session bound", file: "session: {max_connections: 0}", want: []string{"session.max_connections: 0 must be from 1 to 10000000"}},
		{name: "session size", file: "session: {max_frame: 1GiB}", want: []string{"session.max_frame: 1GiB must be from 256 to 16MiB"}},
		{name: "origin", file: "session: {origins: [example.com]}", want: []string{`session.origins[0]: "example.com" must be like`}},
		{name: "stop timeout", file: "server: {stop_timeout: 1s}", want: []string{"server.stop_timeout: 1s must be above session.drain_window (10s)"}},
		{name: "log", file: "log: {format: xml, level: loud}", want: []string{`log.format: "xml" is not one of`, `log.level: "loud" is not one of`}},
		{name: "two secrets", file: "auth: {hmac: {secret_file: x}}", environ: []string{secretVariable}, want: []string{"auth.hmac.secret_file: auth.hmac.secret is set too"}},
		{
			name: "all at once", file: "broker: {sync: x, replicas: 2}\nlog: {level: x}\nserver: {listen: x}\n",
			want: []string{"broker.sync", "broker.replicas", "log.level", "server.listen"},
		},
		{
			name: "all sources at once", file: "a: 1\n", environ: []string{"RIVULET_B=1"}, flags: []cmd.Setting{{"--set", "c", "1"}},
			want: []string{"a: unknown key", "RIVULET_B: unknown variable", "--set: c: unknown key"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := cmd.Sources{Environ: tc.environ, Flags: tc.flags}
			if tc.file != "" {
				s.File = writeFile(t, "rivulet.yaml", tc.file)
			}
			_, err := cmd.Load(s)
			if err == nil {
				t.Fatal("was accepted")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error\n%v\nlacks %q", err, want)
				}
			}
			if tc.not != "" && strings.Contains(err.Error(), tc.not) {
				t.Errorf("the error\n%v\nhas %q as well", err, tc.not)
			}
			if strings.Contains(err.Error(), "hush") {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
}

func TestMissingFileIsNamed(t *testing.T) {
	_, err := cmd.Load(cmd.Sources{File: filepath.Join(t.TempDir(), "none.yaml")})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("got %v, want an error that names the file", err)
	}
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "7": 7, "1KiB": 1024, "1.5 GiB": 3 << 29, "2MB": 2_000_000, "-1": -1, "10B": 10} {
		var b cmd.Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || int64(b) != want {
			t.Errorf("%q is %d, %v; want %d", text, int64(b), err, want)
		}
	}
	for _, text := range []string{"", "x", "1XB", "NaN", "1e30", "9223372036854775807TiB", "GiB"} {
		var b cmd.Bytes
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %d bytes", text, int64(b))
		}
	}
	for text, want := range map[string]time.Duration{"7d": 168 * time.Hour, "90s": 90 * time.Second, "unlimited": -1, "1h30m": 90 * time.Minute} {
		var d cmd.Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want {
			t.Errorf("%q is %v, %v; want %v", text, d, err, want)
		}
	}
	for _, text := range []string{"", "d", "-1d", "1", "999999999d", "soon"} {
		var d cmd.Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %v", text, d)
		}
	}
}

// FuzzLoad: whatever the file has, reading it does not panic, and a
// configuration that is accepted is accepted again as it is written.
func FuzzLoad(f *testing.F) {
	for _, mark := range []string{"defaults", "example"} {
		f.Add(docBlock(f, mark))
	}
	for _, seed := range []string{"", "a: &x [*x]", "dev: !!binary aGk=", "? [a]\n: b", "<<: {dev: true}", "namespaces: {a: null}", "auth: {keys: [null]}", "broker: {disk_budget: 1e3}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := cmd.Load(cmd.Sources{File: writeFile(t, "rivulet.yaml", text)})
		if err != nil {
			return
		}
		cfg.Auth.HMAC.Secret = cmd.DefaultConfig().Auth.HMAC.Secret // is written redacted
		written := toYAML(t, cfg)
		again, err := cmd.Load(cmd.Sources{File: writeFile(t, "again.yaml", written)})
		if err != nil {
			t.Fatalf("%v\nfrom\n%s", err, written)
		}
		if got := toYAML(t, again); got != written {
			t.Errorf("read back as\n%s\nwant\n%s", got, written)
		}
	})
}

// oneWebhook is a configuration with a webhook that is right but for what is overridden.
func oneWebhook(override string) string { return "webhooks: [" + oneHook(override) + "]" }

func oneHook(override string) string {
	keys := map[string]string{
		"name": "a", "url": "'https://a.example'", "secret": "0123456789abcdef", "events": "[message.published]", "channels": "['default:>']",
	}
	var text []string
	for key, value := range keys {
		if !strings.Contains(override, key+":") {
			text = append(text, key+": "+value)
		}
	}
	if override != "" {
		text = append(text, override)
	}
	return "{" + strings.Join(text, ", ") + "}"
}

func TestSecretsOfWebhooksAreRead(t *testing.T) {
	secret := writeFile(t, "secret", "short\n")
	file := writeFile(t, "rivulet.yaml", "auth: {hmac: {secret: 0123456789abcdef0123456789abcdef}}\n"+
		strings.Replace(oneWebhook(""), "secret: 0123456789abcdef", "secret_file: "+secret, 1))
	cfg, err := cmd.Load(cmd.Sources{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = cmd.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err == nil || !strings.Contains(err.Error(), "webhooks.a: secret has 5 bytes, must have at least 16") {
		t.Errorf("a short secret: %v", err)
	}
	if err := os.Remove(secret); err != nil {
		t.Fatal(err)
	}
	if _, err = cmd.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err == nil || !strings.Contains(err.Error(), "webhooks.a.secret_file: open ") {
		t.Errorf("no file: %v", err)
	}
}
