package cmd_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/auth"
)

// TestPollsFromAPositionAreReads: whoever reads the same past again and again is held to
// reads_per_caller; who reads it once is not.
func TestPollsFromAPositionAreReads(t *testing.T) {
	const messages = 1000
	cfg := guardedConfig(t)
	cfg.Limits.ReadsPerCaller, cfg.Limits.PublishesPerUser = 100, 0 // of which 400 at once
	n := startNode(t, cfg)
	token := mint(t, auth.Claims{Subject: "ann"}, map[string][]auth.Action{"chat:>": auth.Actions()})
	const path = "/v1/poll?channel=chat:a&timeout=0"
	var polled struct {
		Data struct {
			Position string            `json:"position"`
			Messages []json.RawMessage `json:"messages"`
		} `json:"data"`
	}
	poll := func(position string) int {
		status, answer := callAs(t, n, "GET", path+position, token, "")
		polled.Data.Messages = nil
		if err := json.Unmarshal([]byte(answer), &polled); err != nil {
			t.Fatal(status, answer)
		}
		return status
	}
	if status := poll(""); status != http.StatusOK {
		t.Fatal(status)
	}
	begin := "&position=" + url.QueryEscape(polled.Data.Position)
	list := strings.TrimSuffix(strings.Repeat(`{"channel":"chat:a","data":1},`, messages/2), ",")
	for range 2 {
		if status, answer := callAs(t, n, "POST", "/v1/messages", token, `{"messages":[`+list+`]}`); status/100 != 2 {
			t.Fatal(status, answer)
		}
	}
	if status := poll(begin); status != http.StatusOK || len(polled.Data.Messages) == 0 {
		t.Fatalf("the first: %d, %d messages", status, len(polled.Data.Messages))
	}
	got := 0
	for range 20 {
		if poll(begin) == http.StatusOK {
			got += len(polled.Data.Messages)
		}
	}
	if got > 6*messages { // 1600 at once, 400 a second, and the last beyond it
		t.Errorf("%d stored messages in 20 polls", got)
	}
}

// TestPresenceIsRead: each look asks all nodes.
func TestPresenceIsRead(t *testing.T) {
	cfg := guardedConfig(t)
	cfg.Limits.ReadsPerCaller = 100 // of which 400 at once
	n := startNode(t, cfg)
	for i, tc := range []struct {
		path string
		most int // of 60 requests
	}{
		{"/v1/channels/chat:a/presence?limit=1000", 3},
		{"/v1/channels/chat:a/presence?counts=true", 55},
		{"/v1/channels/chat:a", 55},
		{"/v1/channels?limit=1000", 3},
	} {
		token := mint(t, auth.Claims{Subject: fmt.Sprintf("ann%d", i)}, map[string][]auth.Action{"chat:>": auth.Actions()})
		done, refused := 0, false
		for i := 0; i < 60 && !refused; i++ {
			switch status, answer := callAs(t, n, "GET", tc.path, token, ""); status {
			case http.StatusOK:
				done++
			case http.StatusTooManyRequests:
				refused = true
			default:
				t.Fatal(tc.path, status, answer)
			}
		}
		if done == 0 || done > tc.most || !refused {
			t.Errorf("%s: %d were answered, and then one refused: %t; want 1 to %d", tc.path, done, refused, tc.most)
		}
	}
}
