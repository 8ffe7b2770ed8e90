package test_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/auth"
)

// TestAStrangersFloodBarsNobody: a connection that floods before it has shown who it is ends
// after a second's worth of commands, and nobody else of its address is kept out for it.
func TestAStrangersFloodBarsNobody(t *testing.T) {
	t.Parallel()
	cfg := localConfig(t)
	cfg.Dev, cfg.Auth.HMAC.Secret = false, auth.NewSecret(memberSecret)
	cfg.Limits.Exempt, cfg.Limits.Commands = nil, 20
	n := startLocal(t, cfg)
	for range 3 {
		conn := dialFrom(t, n, "127.0.0.2")
		closed, codes := drown(t, conn, func(i int) error {
			return conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"id":%d,"ping":{}}`, i))
		})
		if closed != 4204 || codes[4429] < 15 || codes[4429] > 25 {
			t.Errorf("closed with %d after the answers %v; want 4204 after some 20 of 4429", closed, codes)
		}
	}
	if status, _ := refusedHandshake(t, n, "127.0.0.2", ""); status != http.StatusSwitchingProtocols {
		t.Errorf("somebody else of the address: %d", status)
	}
}
