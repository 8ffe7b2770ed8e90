//go:build linux

package cmd_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// fakeNode stores nothing and delivers as badly as it is told.
type fakeNode struct {
	deliver func(offset int, event []byte, write func([]byte)) // nil is right
	status  func(offset int) int                               // of the answer to a publish; nil is 201

	mu      sync.Mutex // guards the following
	offsets map[string]int
	clients map[string][]net.Conn // by channel
}

// startFake returns the address of a fake node.
func startFake(t *testing.T, deliver func(offset int, event []byte, write func([]byte))) string {
	t.Helper()
	return (&fakeNode{deliver: deliver}).start(t)
}

func (f *fakeNode) start(t *testing.T) string {
	t.Helper()
	f.offsets, f.clients = map[string]int{}, map[string][]net.Conn{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/channels/{channel}/messages", f.publish)
	mux.HandleFunc("GET /v1/ws", f.connect)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "# HELP x y\nprocess_cpu_seconds_total 1.5\nprocess_resident_memory_bytes 1e+07\n")
	})
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		f.mu.Lock()
		for _, list := range f.clients {
			for _, c := range list {
				c.Close()
			}
		}
		f.mu.Unlock()
		server.Close()
	})
	return server.URL
}

func (f *fakeNode) publish(w http.ResponseWriter, r *http.Request) {
	var body struct{ Data json.RawMessage }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	channel := r.PathValue("channel")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.offsets[channel]++
	offset := f.offsets[channel]
	event := fmt.Appendf(nil, `{"message":{"channel":%q,"offset":%d,"position":"p-%d","time":1,"data":%s}}`, channel, offset, offset, body.Data)
	for _, c := range f.clients[channel] {
		write := func(b []byte) { writeText(c, b) }
		if f.deliver == nil {
			write(event)
		} else {
			f.deliver(offset, event, write)
		}
	}
	status := http.StatusCreated
	if f.status != nil {
		status = f.status(offset)
	}
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"code":201,"data":{"position":"p-%d"}}`, offset)
}

func writeText(c net.Conn, b []byte) {
	frame := binary.BigEndian.AppendUint16([]byte{0x81, 126}, uint16(len(b)))
	_, _ = c.Write(append(frame, b...)) // the client may have gone
}

// connect keeps a client until it has gone.
func (f *fakeNode) connect(w http.ResponseWriter, _ *http.Request) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
	channel, err := readSubscribe(buffered.Reader)
	if err != nil {
		return
	}
	f.mu.Lock()
	f.clients[channel] = append(f.clients[channel], conn)
	writeText(conn, []byte(`{"id":1,"subscribed":{"channel":"x","position":"p-0","recovered":true}}`))
	f.mu.Unlock()
	_, _ = io.Copy(io.Discard, conn)
}

// readSubscribe reads the one frame that a client of the load sends, which it
// masks with zeros.
func readSubscribe(r *bufio.Reader) (string, error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", err
	}
	rest := make([]byte, 4+int(head[1]&0x7f))
	if _, err := io.ReadFull(r, rest); err != nil {
		return "", err
	}
	var command struct{ Subscribe struct{ Channel string } }
	err := json.Unmarshal(rest[4:], &command)
	return command.Subscribe.Channel, err
}
