package test_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// block is a marked code block of a page.
type block struct{ mark, code string }

var (
	markedBlock = regexp.MustCompile("(?s)<!-- test: ([^\n]*) -->\n```[a-z]*\n(.*?)```")
	position    = regexp.MustCompile(`[0-9A-Za-z]{8}-[0-9a-z]+-[0-9a-z]{8,}`)
	timestamp   = regexp.MustCompile(`"time":[0-9]{13}`)
	eventID     = regexp.MustCompile(`ev_[a-z2-7]{24}`)
)

func markedBlocks(t *testing.T, page string) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", page))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	for _, m := range markedBlock.FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, block{m[1], m[2]})
	}
	return blocks
}

// mask takes out what differs from run to run.
func mask(s string) string {
	s = position.ReplaceAllString(s, "POSITION")
	s = eventID.ReplaceAllString(s, "EVENT")
	return strings.TrimSpace(timestamp.ReplaceAllString(s, `"time":TIME`))
}

// TestREADME runs the commands of README.md and of the guides as they stand, but
// for the address, and compares what they print with what the page says.
func TestREADME(t *testing.T) {
	t.Parallel()
	for page, commands := range map[string]int{
		"README.md":                6,
		"docs/benchmarking.md":     2,
		"docs/operating.md":        3,
		"docs/history.md":          5,
		"docs/publishing.md":       10,
		"docs/scheduling.md":       4,
		"docs/subscribing.md":      6,
		"docs/durable-sessions.md": 7,
		"docs/presence.md":         4,
		"docs/webhooks.md":         2,
		"docs/hooks.md":            1,
		"docs/tls.md":              1,
		"docs/api-keys.md":         1,
		"docs/conflation.md":       3,
		"docs/filters.md":          3,
		"docs/long-poll.md":        2,
		"docs/demo.md":             3,
		"docs/browser.md":          2,
	} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath("openssl"); err != nil && page == "docs/tls.md" {
				t.Skip("makes certificates with openssl, which is not here")
			}
			r := newReader(t)
			for _, b := range markedBlocks(t, page) {
				r.follow(t, page, b)
			}
			if r.ran != commands {
				t.Errorf("ran %d commands of %s, want %d", r.ran, page, commands)
			}
		})
	}
}

// reader does what a page says, block by block.
type reader struct {
	environ []string
	path    string
	address string // of the page's node
	last    *process
	ran     int
}

func newReader(t *testing.T) *reader {
	t.Helper()
	path := pathWithTools(t)
	return &reader{
		environ: []string{"RIVULET_LISTEN=127.0.0.1:0", "RIVULET_DATA=" + t.TempDir(), "RIVULET_BROKER_DISK_BUDGET=4GiB", path},
		path:    path, address: "127.0.0.1:8080",
	}
}

func (r *reader) follow(t *testing.T, page string, b block) {
	t.Helper()
	command := strings.ReplaceAll(b.code, "go run ./cmd/rivulet", "rivulet")
	command = strings.ReplaceAll(command, "127.0.0.1:8080", r.address)
	text, untilPrinted := strings.CutPrefix(b.mark, "run until it has printed ")
	switch {
	case b.mark == "prints":
		if want, got := mask(b.code), mask(r.last.stdout.String()); got != want {
			t.Errorf("printed\n%s\nand %s says\n%s", got, page, want)
		}
		return
	case b.mark == "run in the background":
		r.last = start(t, r.environ, "bash", "-c", "exec "+command)
		line := r.last.stderr.waitFor(t, `"url":"http://`)
		_, rest, _ := strings.Cut(line, `"url":"http://`)
		r.address, _, _ = strings.Cut(rest, `"`)
		r.environ = append(r.environ, "RIVULET_URL=http://"+r.address)
	case b.mark == "run":
		r.finish(t, b, r.environ, "bash", "-c", "set -o pipefail; "+command)
	case b.mark == "is a configuration":
		script := "cd '" + filepath.Dir(temporary(t, "rivulet.yaml", command)) + "'; " +
			"export RIVULET_AUTH_HMAC_SECRET=$(seq 1 64 | tee hook.secret | tr -d '\\n'); rivulet check --config rivulet.yaml"
		r.finish(t, b, append(ownNode(t), r.path), "bash", "-c", script)
	case b.mark == "run as a Go program":
		r.finish(t, b, r.environ, "go", "run", temporary(t, "main.go", command))
	case b.mark == "run with a node of its own":
		command = strings.ReplaceAll(command, "127.0.0.1:9000", ownAddress(t)) // of a receiver
		environ := ownNode(t)
		for _, port := range []string{"8443", "8080"} { // of the node, where r.address is not another's
			command = strings.ReplaceAll(command, "127.0.0.1:"+port, strings.TrimPrefix(environ[0], "RIVULET_LISTEN="))
		}
		script := "set -e; cd '" + t.TempDir() + "'; trap 'kill $!; wait' EXIT; " + withOpenSSL(command)
		r.finish(t, b, append(environ, r.path), "bash", "-c", script)
	case untilPrinted:
		r.last = start(t, r.environ, "bash", "-c", "exec "+command)
		r.last.stdout.waitFor(t, text)
		r.last.signal(t, os.Interrupt)
		_ = r.last.wait(t) // curl calls it a failure
	default:
		t.Fatalf("%s has a block marked %q, which this test does not know", page, b.mark)
	}
	r.ran++
}

// finish runs a command to its end, which must be a good one.
func (r *reader) finish(t *testing.T, b block, environ []string, name string, args ...string) {
	t.Helper()
	r.last = start(t, environ, name, args...)
	if err := r.last.wait(t); err != nil {
		t.Fatalf("%s: %v\n%s", b.code, err, r.last.stderr)
	}
}

// temporary writes a file in a folder of its own.
func temporary(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// ownNode is the environment of a node beside the first one, and of its clients.
func ownNode(t *testing.T) []string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	address := listener.Addr().String()
	return []string{"RIVULET_LISTEN=" + address, "RIVULET_URL=http://" + address, "RIVULET_DATA=" + t.TempDir(), "RIVULET_BROKER_DISK_BUDGET=4GiB"}
}

// withOpenSSL makes the secret by other means where there is no openssl.
func withOpenSSL(command string) string {
	if _, err := exec.LookPath("openssl"); err == nil {
		return command
	}
	return strings.ReplaceAll(command, "openssl rand -hex 32", "head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n'")
}

// pathWithTools is PATH with rivulet in it, and where there is no curl, with this
// test binary in its place.
func pathWithTools(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	link := func(to, name string) {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link(binary(t), "rivulet")
	if _, err := exec.LookPath("curl"); err != nil {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		link(self, "curl")
	}
	return "PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH")
}

// curl does as much of curl as the pages need and returns its exit code.
func curl(args []string) int {
	method, url, body, header := http.MethodGet, "", "", http.Header{}
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "-H":
			i++
			name, value, _ := strings.Cut(args[i], ": ")
			header.Set(name, value)
		case "-d":
			i++
			method, body = http.MethodPost, args[i]
		case "-sN":
		default:
			url = args[i]
		}
	}
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 2
	}
	req.Header = header
	resp, err := (&http.Client{}).Do(req)
	if err != nil {
		return 7
	}
	defer resp.Body.Close()
	if _, err := io.Copy(os.Stdout, resp.Body); err != nil {
		return 56
	}
	return 0
}
