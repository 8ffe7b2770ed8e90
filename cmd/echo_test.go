package cmd_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	gorilla "github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/cmd"
)

// TestEchoEndpoint: it is served where it is asked for, and only there, and no user is
// told of it.
func TestEchoEndpoint(t *testing.T) {
	t.Run("hidden", func(t *testing.T) {
		if r := run(t, "", nil, "serve", "--help").check(t, 0); strings.Contains(r.out+r.err, "echo") {
			t.Errorf("serve --help tells of it:\n%s", r.out)
		}
	})
	t.Run("not asked for", func(t *testing.T) {
		url := startNode(t, devConfig(t)).URL()
		conn, resp, err := gorilla.DefaultDialer.DialContext(testContext(t), echoAt(url), nil)
		if err == nil {
			_ = conn.Close()
			t.Fatal("it is served")
		}
		if resp == nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("status %d, want 404", resp.StatusCode)
		}
	})
	t.Run("asked for", func(t *testing.T) {
		ctx, cancel := context.WithCancel(testContext(t))
		stderr, data := newBuffer(), t.TempDir()
		var wg sync.WaitGroup
		t.Cleanup(wg.Wait)
		t.Cleanup(cancel)
		wg.Go(func() {
			args := []string{"serve", "--dev", "--echo-endpoint", "--listen", "127.0.0.1:0", "--data", data}
			if code := cmd.Main(ctx, args, cmd.Streams{Err: stderr}); code != 0 {
				t.Errorf("exit %d, want 0; stderr:\n%s", code, stderr.String())
			}
		})
		stderr.waitFor(t, `"url":"`)
		_, after, _ := strings.Cut(stderr.String(), `"url":"`)
		url, _, _ := strings.Cut(after, `"`)
		for _, compress := range []bool{false, true} {
			d := gorilla.Dialer{EnableCompression: compress}
			conn, resp, err := d.DialContext(ctx, echoAt(url), nil)
			if err != nil {
				t.Fatalf("%v (%v)", err, resp)
			}
			resp.Body.Close()
			for _, kind := range []int{gorilla.TextMessage, gorilla.BinaryMessage} {
				want := strings.Repeat("no command é ", 100)
				if err := conn.WriteMessage(kind, []byte(want)); err != nil {
					t.Fatal(err)
				}
				if got, text, err := conn.ReadMessage(); got != kind || string(text) != want || err != nil {
					t.Errorf("got %q of kind %d, %v", text, got, err)
				}
			}
			_ = conn.Close()
		}
	})
}

func echoAt(url string) string { return "ws" + strings.TrimPrefix(url, "http") + "/test/echo" }
