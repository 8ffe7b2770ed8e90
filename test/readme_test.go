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

// block is a marked code block of README.md.
type block struct{ mark, code string }

var (
	markedBlock = regexp.MustCompile("(?s)<!-- test: ([^\n]*) -->\n```[a-z]*\n(.*?)```")
	position    = regexp.MustCompile(`[0-9A-Za-z]{8}-[0-9a-z]+-[0-9a-z]{8,}`)
	timestamp   = regexp.MustCompile(`"time":[0-9]{13}`)
)

func readmeBlocks(t *testing.T) []block {
	t.Helper()
	text, err := os.ReadFile("../README.md")
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
	return strings.TrimSpace(timestamp.ReplaceAllString(s, `"time":TIME`))
}

// TestREADME runs the commands of README.md as they stand, but for the address,
// and compares what they print with what it says.
func TestREADME(t *testing.T) {
	environ := []string{"RIVULET_LISTEN=127.0.0.1:0", "RIVULET_DATA=" + t.TempDir(), "RIVULET_BROKER_DISK_BUDGET=4GiB", "PATH=" + pathWithCurl(t)}
	address := "127.0.0.1:8080"
	var last *process
	ran := 0
	for _, b := range readmeBlocks(t) {
		command := strings.ReplaceAll(b.code, "go run ./cmd/rivulet", binary(t))
		command = strings.ReplaceAll(command, "127.0.0.1:8080", address)
		switch b.mark {
		case "prints":
			if want, got := mask(b.code), mask(last.stdout.String()); got != want {
				t.Errorf("printed\n%s\nand README.md says\n%s", got, want)
			}
			continue
		case "run in the background":
			last = start(t, environ, "bash", "-c", "exec "+command)
			line := last.stderr.waitFor(t, "node      http://")
			address = strings.TrimSpace(line[strings.Index(line, "http://")+len("http://"):])
			environ = append(environ, "RIVULET_URL=http://"+address)
		case "run":
			last = start(t, environ, "bash", "-c", "set -o pipefail; "+command)
			if err := last.wait(t); err != nil {
				t.Fatalf("%s: %v\n%s", b.code, err, last.stderr)
			}
		case "run with a node of its own":
			last = start(t, ownNode(t), "bash", "-c", "set -e; trap 'kill $!; wait' EXIT; "+withOpenSSL(command))
			if err := last.wait(t); err != nil {
				t.Fatalf("%s: %v\n%s", b.code, err, last.stderr)
			}
		case "run until it has printed":
			last = start(t, environ, "bash", "-c", "exec "+command)
			last.stdout.waitFor(t, `"data":{"text":"hello"}`)
			last.signal(t, os.Interrupt)
			_ = last.wait(t) // curl calls it a failure
		default:
			t.Fatalf("README.md has a block marked %q, which this test does not know", b.mark)
		}
		ran++
	}
	if ran != 6 {
		t.Errorf("ran %d commands of README.md, want 6", ran)
	}
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

// pathWithCurl is PATH; where there is no curl, with this test binary in its place.
func pathWithCurl(t *testing.T) string {
	t.Helper()
	path := os.Getenv("PATH")
	if _, err := exec.LookPath("curl"); err == nil {
		return path
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "curl")); err != nil {
		t.Fatal(err)
	}
	return dir + string(os.PathListSeparator) + path
}

// curl does as much of curl as README.md needs and returns its exit code.
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
