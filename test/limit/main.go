//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	connections := flag.Int("connections", 5000, "how many connections to wait for")
	greet := flag.Int("greet", 0, "messages for each connection as soon as it stands")
	gather := flag.Int("gather", 1, "messages per write of those")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *connections, *greet, *gather); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer, connections, greet, gather int) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() {
		return fmt.Errorf("limit: no payload on the first line: %w", errors.Join(lines.Err(), io.EOF))
	}
	f, err := newFrame(lines.Bytes())
	if err != nil {
		return err
	}
	fds, err := accept(out, connections, greeting(f, greet, gather))
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd) // the process ends
		}
	}()
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "ready")
	for n := uint64(1); lines.Scan(); {
		var count, pause int
		if _, err := fmt.Sscanf(lines.Text(), "write %d %d", &count, &pause); err != nil {
			return fmt.Errorf("limit: %q is not: write COUNT MICROSECONDS", lines.Text())
		}
		due := time.Now()
		for range count {
			time.Sleep(time.Until(due))
			if pause == 0 {
				due = time.Now()
			}
			f.stamp(n, due)
			n++
			if err := writeAll(fds, f.bytes); err != nil {
				return err
			}
			due = due.Add(time.Duration(pause) * time.Microsecond)
		}
		fmt.Fprintln(out, "written")
	}
	return lines.Err()
}

// frame is a text frame whose payload has two numbers that change.
type frame struct {
	bytes   []byte
	n, sent int // where they begin
}

const (
	nDigits    = 10
	sentDigits = 19
	firstN     = 1_000_000_000 // numbers have no leading zeros
)

func newFrame(payload []byte) (*frame, error) {
	f := &frame{bytes: []byte{0x81}}
	switch {
	case len(payload) < 126:
		f.bytes = append(f.bytes, byte(len(payload)))
	case len(payload) <= 0xffff:
		f.bytes = binary.BigEndian.AppendUint16(append(f.bytes, 126), uint16(len(payload)))
	default:
		return nil, fmt.Errorf("limit: the payload has %d bytes, must be at most %d", len(payload), 0xffff)
	}
	f.bytes = append(f.bytes, payload...)
	for _, number := range []struct {
		name   string
		digits int
		at     *int
	}{{`"n":`, nDigits, &f.n}, {`"sent":`, sentDigits, &f.sent}} {
		i := bytes.Index(f.bytes, []byte(number.name))
		if i < 0 || i+len(number.name)+number.digits > len(f.bytes) {
			return nil, fmt.Errorf("limit: the payload has no %s with %d digits: %.200s", number.name, number.digits, payload)
		}
		*number.at = i + len(number.name)
	}
	return f, nil
}

func (f *frame) stamp(n uint64, sent time.Time) {
	strconv.AppendUint(f.bytes[f.n:f.n], firstN+n, 10)
	strconv.AppendInt(f.bytes[f.sent:f.sent], sent.UnixNano(), 10)
}

// greeting is what every connection is written first, in the pieces of each write.
func greeting(f *frame, count, gather int) [][]byte {
	// The accept key belongs to the key in RFC 6455, which the load generator sends.
	hello := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
	pieces := [][]byte{[]byte(hello)}
	for n := range count {
		f.stamp(uint64(n+1), time.Now())
		if last := len(pieces) - 1; n%gather == 0 {
			pieces = append(pieces, bytes.Clone(f.bytes))
		} else {
			pieces[last] = append(pieces[last], f.bytes...)
		}
	}
	return pieces
}

// accept waits for the connections and returns their descriptors.
func accept(out io.Writer, connections int, greeting [][]byte) (fds []int, err error) {
	listener, err := listen()
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(listener) }() // it did its work
	address, err := unix.Getsockname(listener)
	if err != nil {
		return nil, fmt.Errorf("limit: read the port: %w", err)
	}
	local, ok := address.(*unix.SockaddrInet4)
	if !ok {
		return nil, fmt.Errorf("limit: listening on %T, not on IPv4", address)
	}
	fmt.Fprintf(out, "listening 127.0.0.1:%d\n", local.Port)
	request := make([]byte, 4<<10)
	for len(fds) < connections {
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fds, fmt.Errorf("limit: accept: %w", err)
		}
		fds = append(fds, fd)
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return fds, fmt.Errorf("limit: set TCP_NODELAY: %w", err)
		}
		if _, err := unix.Read(fd, request); err != nil { // the handshake, which is one segment
			return fds, fmt.Errorf("limit: read the handshake: %w", err)
		}
		for _, piece := range greeting {
			if err := writeAll([]int{fd}, piece); err != nil {
				return fds, err
			}
		}
	}
	return fds, nil
}

func listen() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		err = unix.Listen(fd, 1<<14)
	}
	if err != nil {
		return 0, fmt.Errorf("limit: listen: %w", err)
	}
	return fd, nil
}

// writeAll writes b to each descriptor, which blocks while its buffer is full.
func writeAll(fds []int, b []byte) error {
	for _, fd := range fds {
		for rest := b; len(rest) > 0; {
			n, err := unix.Write(fd, rest)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("limit: write: %w", err)
			}
			rest = rest[max(n, 0):]
		}
	}
	return nil
}
