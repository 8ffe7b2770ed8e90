package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/rivulet-rt/rivulet/fanout"
)

func TestGroups(t *testing.T) {
	const crew = `{"group":"crew","created":1700000000123,"pending":7,"in_flight":3,"redelivered":1,"waiting":2}`
	const base = "/v1/channels/chat:lobby/groups"
	for name, tc := range map[string]struct {
		method, path string
		err          error
		status       int
		want         string
	}{
		"list":              {http.MethodGet, base, nil, 200, `"data":{"groups":[` + crew + `]}`},
		"show":              {http.MethodGet, base + "/crew", nil, 200, `"data":` + crew},
		"delete":            {http.MethodDelete, base + "/crew", nil, 200, `"message":"deleted","data":{"group":"crew"}`},
		"none":              {http.MethodGet, base + "/other", nil, 404, `"field":"group"`},
		"delete none":       {http.MethodDelete, base + "/other", nil, 404, `"field":"group"`},
		"bad name":          {http.MethodGet, base + "/a.b", nil, 400, `"field":"group"`},
		"a pattern":         {http.MethodGet, "/v1/channels/chat:*/groups", nil, 400, `"field":"channel"`},
		"a parameter":       {http.MethodGet, base + "?all=1", nil, 400, `"field":"all"`},
		"the log is away":   {http.MethodGet, base, fanout.ErrUnavailable, 503, "the log cannot be reached"},
		"away when asked":   {http.MethodGet, base + "/crew", fanout.ErrUnavailable, 503, "the log cannot be reached"},
		"away for a delete": {http.MethodDelete, base + "/crew", fanout.ErrUnavailable, 503, "the log cannot be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.log.err = tc.err
			res := h.do(t, tc.method, tc.path, "")
			if res.status != tc.status || !strings.Contains(string(res.body), tc.want) {
				t.Errorf("status %d, %s; want %d, %s", res.status, res.body, tc.status, tc.want)
			}
		})
	}
}
