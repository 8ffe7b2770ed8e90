package cmd_test

import (
	"encoding/json"
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
