package test_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestAttackSlowly: handshakes, bodies and frames that come a byte at a time and never end
// (slow-loris) are ended by the node, by the time that is stated; meanwhile it serves others.
func TestAttackSlowly(t *testing.T) {
	t.Parallel() // it waits for the node's times
	f := besiege(t, "namespaces: {t: {max_bytes: 64MiB}}\nsession: {frame_timeout: 3s}\n", "--dev")
	defer f.stands(t, 128<<20)
	const each = 200
	ws := "GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\n" + upgrade + "\r\n"
	body := "POST /v1/channels/t:a/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
	kinds := map[string]struct {
		begin, trickle string
		end            time.Duration // at the latest
		answer         int           // an HTTP status, or a close code; 0 is none
	}{
		"a handshake":    {"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\n", "X-A: b\r\n", 15 * time.Second, http.StatusBadRequest},
		"a request line": {"GET /v1/w", "x", 15 * time.Second, http.StatusBadRequest},
		"nothing":        {"", "", 15 * time.Second, 0},
		"a body":         {body, "x", 40 * time.Second, http.StatusRequestTimeout},
		"a frame":        {ws, "\x81\xfe\x03\xe8\x00\x00\x00\x00" + strings.Repeat("x", 900), 15 * time.Second, 4001},
		"fragments":      {ws, "\x01\x81\x00\x00\x00\x00x" + strings.Repeat("\x00\x81\x00\x00\x00\x00x", 500), 15 * time.Second, 4001},
	}
	var attackers sync.WaitGroup
	var mu sync.Mutex
	answered := map[string]int{}
	for name, k := range kinds {
		for range each {
			attackers.Go(func() {
				begun := time.Now()
				got := crawl(t, f.url(), k.begin, k.trickle)
				// What is written while the node closes may take the answer away.
				if took := time.Since(begun); took > k.end || got != k.answer && got != 0 {
					t.Errorf("%s: ended with %d after %v, want %d within %v", name, got, took, k.answer, k.end)
				}
				if got == k.answer {
					mu.Lock()
					defer mu.Unlock()
					answered[name]++
				}
			})
		}
	}
	end, served := make(chan struct{}), make(chan []time.Duration, 1)
	v := visit(t, f.node)
	go func() {
		var took []time.Duration
		for {
			select {
			case <-end:
				served <- took
				return
			default:
				begun := time.Now()
				if status, _, text := v.request(http.MethodPost, messagesPath("t:b"), `{"data":1}`, nil); status != http.StatusCreated {
					t.Errorf("meanwhile: %d %s", status, text)
				}
				took = append(took, time.Since(begun))
			}
		}
	}()
	attackers.Wait()
	close(end)
	for _, name := range []string{"a body", "a frame", "fragments"} {
		if answered[name] < each/2 {
			t.Errorf("%s: %d of %d were told why they were ended", name, answered[name], each)
		}
	}
	slow := 0
	took := <-served
	for _, d := range took {
		if d > time.Second {
			slow++
		}
	}
	if slow > len(took)/100 {
		t.Errorf("%d of %d publishes meanwhile took more than a second", slow, len(took))
	}
}

// crawl sends begin, then trickle a byte at a time until the node ends the connection. It returns the status of an HTTP answer, or
// the code that a WebSocket is closed with.
func crawl(t *testing.T, base, begin, trickle string) int {
	t.Helper()
	conn := connect(t, base)
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, begin)
	r := bufio.NewReader(conn)
	upgraded := strings.Contains(begin, "Upgrade")
	if upgraded {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Errorf("handshake: %v", err)
			return 0
		}
		_ = resp.Body.Close() // there is none
		if resp.StatusCode != http.StatusSwitchingProtocols {
			t.Errorf("handshake: %d", resp.StatusCode)
			return 0
		}
	}
	ended := make(chan struct{})
	var writing sync.WaitGroup
	defer writing.Wait()
	defer close(ended)
	writing.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for i := 0; trickle != ""; i++ {
			select {
			case <-ended:
				return
			case <-tick.C:
				if _, err := io.WriteString(conn, trickle[i%len(trickle):i%len(trickle)+1]); err != nil {
					return
				}
			}
		}
	})
	if !upgraded {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return 0
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	return closeCode(r)
}

// closeCode reads frames up to the one that closes, 0 where there is none.
func closeCode(r *bufio.Reader) int {
	for {
		var head [2]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return 0
		}
		size := int64(head[1])
		if size == 126 {
			var long [2]byte
			if _, err := io.ReadFull(r, long[:]); err != nil {
				return 0
			}
			size = int64(long[0])<<8 | int64(long[1])
		}
		var text strings.Builder
		if _, err := io.CopyN(&text, r, size); err != nil {
			return 0
		}
		if head[0]&0xf == 8 && size >= 2 {
			return int(text.String()[0])<<8 | int(text.String()[1])
		}
	}
}
