//go:build linux

package scenario

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// startTimeout bounds the start of a process.
const startTimeout = 20 * time.Second

// process is a program that was started here.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // of the output that is read; closed when the process ended
	wg    sync.WaitGroup

	mu   sync.Mutex // guards the following
	tail []string   // the last lines, for errors
}

// keptLines are shown where a process fails; unreadLines wait for whoever awaits one, more
// than a server says at its start.
const (
	keptLines   = 10
	unreadLines = 256
)

// launch starts a program whose stderr, or else whose stdout, is read, with more in
// its environment than this process has.
func launch(ctx context.Context, stderr bool, env []string, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, name, args...), lines: make(chan string, unreadLines)} //nolint:gosec // our own binaries
	p.cmd.Env = append(os.Environ(), env...)
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("scenario: start %s: %w", name, err)
	}
	p.in = in
	pipe, other := p.cmd.StdoutPipe, &p.cmd.Stderr
	if stderr {
		pipe, other = p.cmd.StderrPipe, &p.cmd.Stdout
	}
	*other = os.Stderr
	out, err := pipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("scenario: start %s: %w", name, err)
	}
	p.wg.Go(func() { p.read(out) })
	return p, nil
}

func (p *process) read(out io.Reader) {
	defer close(p.lines)
	s := bufio.NewScanner(out)
	s.Buffer(nil, 64<<20) // a worker's result is one long line
	for s.Scan() {
		p.mu.Lock()
		p.tail = append(p.tail, s.Text())
		p.tail = p.tail[max(0, len(p.tail)-keptLines):]
		p.mu.Unlock()
		p.offer(s.Text())
	}
}

// offer adds a line to those that are awaited, in place of the oldest where nobody reads.
func (p *process) offer(line string) {
	for {
		select {
		case p.lines <- line:
			return
		default:
		}
		select {
		case <-p.lines:
		default:
		}
	}
}

// await returns the first line that has a text.
func (p *process) await(ctx context.Context, text string) (string, error) {
	return p.awaitFor(ctx, startTimeout, text)
}

// awaitFor is await with another bound.
func (p *process) awaitFor(ctx context.Context, bound time.Duration, text string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	for {
		select {
		case line, open := <-p.lines:
			if strings.Contains(line, text) {
				return line, nil
			}
			if !open {
				return "", fmt.Errorf("scenario: %s ended:\n%s", p.cmd.Path, p.said())
			}
		case <-ctx.Done():
			return "", fmt.Errorf("scenario: %s does not say %q: %w; it said:\n%s", p.cmd.Path, text, context.Cause(ctx), p.said())
		}
	}
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.tail, "\n")
}

// kill ends the process at once: what it has is thrown away.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails only if it has ended
	p.wg.Wait()
	_ = p.cmd.Wait() // it was killed
}

// ticks is the unit of /proc/<pid>/stat: USER_HZ, which is 100 on all of Linux's
// architectures that Go knows.
const ticks = 100

// cpu is the processor time that the process took so far, user and system.
func (p *process) cpu() time.Duration {
	if p == nil {
		return 0
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/stat")
	if err != nil {
		return 0
	}
	// The name of the program, in parentheses, may have spaces.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if errors.Join(err1, err2) != nil {
		return 0
	}
	return time.Duration(user+system) * time.Second / ticks
}

// ownCPU is the processor time that this process took.
func ownCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// node is the node under load.
type node struct {
	*process // nil if it was running already
	cfg      Config
	data     string
	address  netip.AddrPort
}

// startNode starts a node with an empty folder, or finds the one that runs.
func startNode(ctx context.Context, cfg Config) (*node, error) {
	n := &node{cfg: cfg}
	if cfg.URL != "" {
		u, err := url.Parse(cfg.URL)
		if err == nil {
			n.address, err = netip.ParseAddrPort(u.Host)
		}
		if err != nil || u.Scheme != "http" {
			return nil, fmt.Errorf("scenario: the url is %q, must be like http://127.0.0.1:8080", cfg.URL)
		}
		return n, nil
	}
	data, err := os.MkdirTemp("", "rivulet-load-")
	if err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	n.data = data
	if err := n.start(ctx); err != nil {
		n.stop()
		return nil, err
	}
	return n, nil
}

// namespace is where everything is published.
const namespace = "load"

func (n *node) start(ctx context.Context) error {
	limits := fmt.Sprintf("max_bytes: 4GiB, presence: %v", n.cfg.Presence)
	if n.cfg.SessionStore != "" {
		limits += ", max_sessions: 1000000, session_store: " + n.cfg.SessionStore
	}
	args := []string{
		"serve", "--listen", "127.0.0.1:0", "--data", n.data, "--disk-budget", "8GiB", "--log-format", "json",
		"--set", "namespaces={" + namespace + ": {" + limits + "}" + n.second() + "}",
	}
	// What is measured is the node, not how many handshakes it is told to let in.
	args = append(args, "--set", cmp.Or(n.cfg.Limits, "limits.handshakes=0"))
	if n.cfg.NATSURL != "" {
		args = append(args, "--nats-url", n.cfg.NATSURL)
	}
	if n.cfg.Webhook != "" {
		args = append(args, "--set", "webhooks=["+n.cfg.Webhook+"]")
	}
	if n.cfg.Sync != "" {
		args = append(args, "--sync", n.cfg.Sync)
	}
	env := []string{"RIVULET_AUTH_HMAC_SECRET=" + n.cfg.Secret}
	if n.cfg.Secret == "" {
		args, env = append(args, "--dev"), nil
	}
	p, err := launch(ctx, true, env, n.cfg.Node, args...)
	if err != nil {
		return err
	}
	n.process = p
	line, err := p.await(ctx, `"msg":"started"`)
	if err != nil {
		return err
	}
	var started struct{ Address string }
	if err := json.Unmarshal([]byte(line), &started); err != nil {
		return fmt.Errorf("scenario: read %q: %w", line, err)
	}
	n.address, err = netip.ParseAddrPort(started.Address)
	return err
}

// second is another namespace, where limits are what is measured.
func (n *node) second() string {
	if n.cfg.Limits == "" {
		return ""
	}
	return fmt.Sprintf(", %s: {max_bytes: 1GiB, publish_rate: %d}", floodNamespace, n.cfg.FloodRate)
}

// restart kills the node and starts it again on its log.
func (n *node) restart(ctx context.Context) error {
	n.kill()
	return n.start(ctx)
}

func (n *node) stop() {
	if n.process != nil {
		n.kill()
	}
	if n.data != "" {
		_ = os.RemoveAll(n.data) // in the temporary folder anyway
	}
}

// limit is a run of the reference program.
type limit struct {
	*process
	address netip.AddrPort
}

func startLimit(ctx context.Context, cfg Config, payload []byte, connections, greet, gather int) (*limit, error) {
	p, err := launch(ctx, false, nil, cfg.Limit, "-connections", strconv.Itoa(connections),
		"-greet", strconv.Itoa(greet), "-gather", strconv.Itoa(gather))
	if err != nil {
		return nil, err
	}
	l := &limit{process: p}
	if err = l.say(string(payload)); err == nil {
		var line string
		if line, err = p.await(ctx, "listening "); err == nil {
			l.address, err = netip.ParseAddrPort(strings.TrimPrefix(line, "listening "))
		}
	}
	if err != nil {
		l.kill()
		return nil, err
	}
	return l, nil
}

func (l *limit) say(line string) error {
	_, err := io.WriteString(l.in, line+"\n")
	return err
}

// write has it write messages to every connection.
func (l *limit) write(count int, pause time.Duration) error {
	return l.say(fmt.Sprintf("write %d %d", count, pause.Microseconds()))
}
