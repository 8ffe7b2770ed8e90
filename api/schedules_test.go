package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/fanout"
)

func TestSchedules(t *testing.T) {
	h := newHarness(t)
	res := h.do(t, "POST", lobby, `{"data":{"a":1},"delay":60000,"ttl":5,"updates":3,"headers":{"k":"v"},"idempotency_key":"key","conflation_key":"c","exclude":"0123456789abcdef"}`)
	id, _ := res.data["schedule"].(string)
	h.do(t, "POST", "/v1/channels/chat:b/messages", `{"data_base64":"AAE=","delay":60000}`)
	h.do(t, "POST", "/v1/messages", `{"messages":[{"channel":"chat:c","data":1,"delay":60000},{"channel":"chat:c","data":1}]}`)
	if len(h.log.waiting) != 3 || len(h.log.stored) != 1 {
		t.Fatalf("%d wait, %d are stored", len(h.log.waiting), len(h.log.stored))
	}
	res = h.do(t, "GET", "/v1/schedules?limit=2", "")
	list, _ := res.data["schedules"].([]any)
	if res.status != 200 || len(list) != 2 || res.data["next"] != "2" || h.log.listed.Limit != 2 {
		t.Errorf("%d %s, asked %+v", res.status, res.body, h.log.listed)
	}
	res = h.do(t, "GET", "/v1/schedules?after=2&prefix=chat:", "")
	if res.status != 200 || res.data["next"] != "" || h.log.listed.After != 2 || h.log.listed.Prefix != "chat:" || h.log.listed.Limit != 100 {
		t.Errorf("%d %s, asked %+v", res.status, res.body, h.log.listed)
	}
	h.do(t, "GET", "/v1/schedules?channel=chat:lobby", "")
	if h.log.listed.Channel.String() != "chat:lobby" {
		t.Errorf("asked %+v", h.log.listed)
	}
	res = h.do(t, "GET", "/v1/schedules/"+id, "")
	if res.status != 200 || res.data["channel"] != "chat:lobby" || res.data["ttl"] != 5.0 || res.data["updates"] != 3.0 || res.data["idempotency_key"] != "key" ||
		fmt.Sprint(res.data["data"], res.data["headers"]) != "map[a:1] map[k:v]" || res.data["created"] != 1732290000123.0 {
		t.Errorf("%d %s", res.status, res.body)
	}
	if res = h.do(t, "GET", "/v1/schedules/"+h.log.waiting[1].ID, ""); res.data["data_base64"] != "AAE=" {
		t.Errorf("%d %s", res.status, res.body)
	}
	res = h.do(t, "DELETE", "/v1/schedules/"+id, "")
	if res.status != 200 || res.message != "cancelled" || res.data["schedule"] != id || fmt.Sprint(h.log.cancelled) != "["+id+"]" {
		t.Errorf("%d %s", res.status, res.body)
	}
}

func TestSchedulesBadInput(t *testing.T) {
	for name, c := range map[string]struct {
		method, target string
		status         int
		field          string
	}{
		"both":                {"GET", "/v1/schedules?channel=a&prefix=b", 400, "prefix"},
		"a pattern":           {"GET", "/v1/schedules?channel=chat:*", 400, "channel"},
		"an empty channel":    {"GET", "/v1/schedules?channel=", 400, "channel"},
		"long prefix":         {"GET", "/v1/schedules?prefix=" + strings.Repeat("x", 234), 400, "prefix"},
		"limit":               {"GET", "/v1/schedules?limit=1001", 400, "limit"},
		"no limit":            {"GET", "/v1/schedules?limit=0", 400, "limit"},
		"after is text":       {"GET", "/v1/schedules?after=x", 400, "after"},
		"after is negative":   {"GET", "/v1/schedules?after=-1", 400, "after"},
		"unknown parameter":   {"GET", "/v1/schedules?offset=1", 400, "offset"},
		"parameter of one":    {"GET", "/v1/schedules/x?limit=1", 400, "limit"},
		"parameter of cancel": {"DELETE", "/v1/schedules/x?force=1", 400, "force"},
		"unknown":             {"GET", "/v1/schedules/x", 404, "schedule"},
		"cancel unknown":      {"DELETE", "/v1/schedules/" + strings.Repeat("A", 22), 404, "schedule"},
		"cancel all":          {"DELETE", "/v1/schedules", 405, ""},
	} {
		h := newHarness(t)
		if res := h.do(t, c.method, c.target, ""); res.status != c.status || res.field != c.field {
			t.Errorf("%s: %d %q %s", name, res.status, res.field, res.message)
		}
	}
}

func TestScheduleErrors(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
		field  string
	}{
		"due":         {fanout.ErrScheduleDue, 409, "schedule"},
		"became due":  {&fanout.OutcomeUnknownError{Cause: fanout.ErrScheduleDue}, 504, "schedule"},
		"gone":        {fanout.ErrNoSchedule, 404, "schedule"},
		"unavailable": {fanout.ErrUnavailable, 503, ""},
	} {
		h := newHarness(t)
		res := h.do(t, "POST", lobby, `{"data":1,"delay":1000}`)
		h.log.err = fmt.Errorf("cancel: %w", c.err)
		res = h.do(t, "DELETE", fmt.Sprint("/v1/schedules/", res.data["schedule"]), "")
		if res.status != c.status || res.field != c.field {
			t.Errorf("%s: %d %q %s", name, res.status, res.field, res.message)
		}
	}
	h := newHarness(t, func(h *harness) { h.log.err = fanout.ErrSchedulesFull })
	if res := h.do(t, "POST", lobby, `{"data":1,"delay":1000}`); res.status != 503 || res.header.Get("Retry-After") != "60" {
		t.Errorf("full: %d %s", res.status, res.message)
	}
}

func TestSchedulesNeedManage(t *testing.T) {
	caps, err := auth.NewCapabilities(map[string][]auth.Action{"chat:>": {auth.Publish}, "mine:>": {auth.Publish, auth.Manage}})
	if err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, func(h *harness) { h.auth = fixed{auth.Claims{Subject: "ann", Capabilities: caps}} })
	for _, ch := range []string{"chat:a", "mine:a"} {
		c, err := fanout.ParseChannel(ch)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = h.log.Publish(t.Context(), &fanout.Publication{Channel: c, Data: []byte("1"), DeliverAt: time.Now().Add(time.Hour).UnixNano()})
	}
	list, _ := h.do(t, "GET", "/v1/schedules", "").data["schedules"].([]any)
	if len(list) != 1 || !strings.Contains(fmt.Sprint(list[0]), "mine:a") {
		t.Errorf("listed %v", list)
	}
	for method, target := range map[string]string{"GET": "/v1/schedules?channel=chat:a", "DELETE": "/v1/schedules/" + h.log.waiting[0].ID} {
		if res := h.do(t, method, target, ""); res.status != 403 || len(h.log.cancelled) != 0 {
			t.Errorf("%s %s: %d %s", method, target, res.status, res.message)
		}
	}
}
