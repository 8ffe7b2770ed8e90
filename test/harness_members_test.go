package test_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rivulet-rt/rivulet/auth"
)

const memberSecret = "a-secret-of-the-tests-that-protects-nothing-at-all"

// servePresence runs a node on the log that wants tokens, with presence in the namespace
// room and none in quiet.
func servePresence(t *testing.T, natsURL, listen string) *node {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rivulet.yaml")
	config := "namespaces:\n  room: {presence: true, max_bytes: 64MiB}\n  quiet: {max_bytes: 64MiB}\n" +
		"auth: {hmac: {secret: " + memberSecret + "}}\n" +
		"limits: {connections_per_user: 0, reads_per_caller: 0}\n" // a test's crowd may be one user's
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return started(t, start(t, nil, binary(t), "serve", "--config", file, "--listen", listen, "--nats-url", natsURL, "--set", "log.format=json"))
}

// memberToken is of a user, "" for none, who may do everything.
func memberToken(t testing.TB, user, info string) string {
	t.Helper()
	cfg := auth.DefaultConfig().HMAC
	cfg.Secret = auth.NewSecret(memberSecret)
	caps, err := auth.NewCapabilities(map[string][]auth.Action{"*:>": auth.Actions()})
	if err != nil {
		t.Fatal(err)
	}
	token, err := auth.Mint(cfg, auth.Claims{Subject: user, ExpiresAt: time.Now().Add(time.Hour), Capabilities: caps, Info: info})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// attendant is a bare connection that is subscribed to one channel.
type attendant struct {
	conn         *websocket.Conn
	client, user string
	node         *node
	joined, left time.Time // as the test knows; left is zero while it is there
	ended        chan struct{}
}

// attendance is the truth about a channel's members. Safe for concurrent use.
type attendance struct {
	channel string
	reading sync.WaitGroup

	mu  sync.Mutex // guards the following
	all map[string]*attendant
}

func newAttendance(t *testing.T, channel string) *attendance {
	t.Helper()
	a := &attendance{channel: channel, all: map[string]*attendant{}}
	t.Cleanup(func() {
		a.mu.Lock()
		for _, m := range a.all {
			_ = m.conn.Close()
		}
		a.mu.Unlock()
		a.reading.Wait()
	})
	return a
}

// join connects a member to a node and waits until it is subscribed.
func (a *attendance) join(ctx context.Context, n *node, user, token string) (*attendant, error) {
	conn, resp, err := websocket.DefaultDialer.DialContext(ctx, "ws://"+n.address+"/v1/ws", http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	m := &attendant{conn: conn, user: user, node: n, ended: make(chan struct{})}
	if err := m.subscribe(a.channel); err != nil {
		_ = conn.Close()
		return nil, err
	}
	m.joined = time.Now()
	a.mu.Lock()
	a.all[m.client] = m
	a.mu.Unlock()
	a.reading.Go(func() {
		defer close(m.ended)
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				return
			}
		}
	})
	return m, nil
}

func (m *attendant) subscribe(channel string) error {
	if err := m.conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"id":1,"subscribe":{"channel":%q}}`, channel)); err != nil {
		return err
	}
	if err := m.conn.SetReadDeadline(time.Now().Add(deadline)); err != nil {
		return err
	}
	for {
		_, frame, err := m.conn.ReadMessage()
		if err != nil {
			return err
		}
		var e struct {
			Connected  *struct{ Client string }
			Subscribed *struct{}
			Error      json.RawMessage
		}
		if err := json.Unmarshal(frame, &e); err != nil || e.Error != nil {
			return fmt.Errorf("subscribe: %s: %w", frame, err)
		}
		if e.Connected != nil {
			m.client = e.Connected.Client
		}
		if e.Subscribed != nil {
			return m.conn.SetReadDeadline(time.Time{})
		}
	}
}

// leave ends a member's connection.
func (a *attendance) leave(m *attendant) {
	a.mu.Lock()
	m.left = time.Now()
	a.mu.Unlock()
	_ = m.conn.Close()
	<-m.ended
}

// died notes that a node was killed.
func (a *attendance) died(n *node) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.all {
		if m.node == n && m.left.IsZero() {
			m.left = time.Now()
		}
	}
}

// present are those that are there.
func (a *attendance) present() (clients []string, users int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	distinct := map[string]bool{}
	for id, m := range a.all {
		if m.left.IsZero() {
			clients = append(clients, id)
			if m.user != "" {
				distinct[m.user] = true
			}
		}
	}
	slices.Sort(clients)
	return clients, len(distinct)
}

// audit looks for ghosts in a list that was read from begin to end, and for those that
// should be in it. Somebody who came or went within the grace may be in it or not.
func (a *attendance) audit(clients []string, begin, end time.Time, grace time.Duration) (ghosts, missing []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range clients {
		m := a.all[id]
		if m != nil && !m.left.IsZero() && begin.Sub(m.left) > grace {
			ghosts = append(ghosts, id)
		}
	}
	for id, m := range a.all {
		there := m.joined.Before(begin.Add(-grace)) && (m.left.IsZero() || m.left.After(end.Add(grace)))
		if there && !slices.Contains(clients, id) {
			missing = append(missing, id)
		}
	}
	return ghosts, missing
}

// anyone returns some who are there, at most n of a node.
func (a *attendance) anyone(n int, of *node) []*attendant {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []*attendant
	for m := range maps.Values(a.all) {
		if m.left.IsZero() && (of == nil || m.node == of) && len(list) < n {
			list = append(list, m)
		}
	}
	return list
}

// listed is what the API says of a channel's members.
type listed struct {
	clients        []string // in the order of the pages
	Clients, Users int
	Partial        bool
	members        []listedMember
	pages          int
	status         int
	message, field string
}

type listedMember struct {
	Client, User string
	Info         json.RawMessage
	Since        int64
}

// presence reads all pages of a channel's members.
func (c *caller) presence(t testing.TB, base, token, channel string, limit int) (all listed) {
	t.Helper()
	for after := ""; ; {
		query := url.Values{"limit": {fmt.Sprint(limit)}}
		if after != "" {
			query.Set("after", after)
		}
		var page struct {
			Message string
			Data    struct {
				Field, Next    string
				Members        []listedMember
				Clients, Users int
				Partial        bool
			}
		}
		all.status = c.get(t, base+"/v1/channels/"+url.PathEscape(channel)+"/presence?"+query.Encode(), token, &page)
		all.message, all.field = page.Message, page.Data.Field
		if all.status != http.StatusOK {
			return all
		}
		all.pages++
		all.Clients, all.Users, all.Partial = page.Data.Clients, page.Data.Users, all.Partial || page.Data.Partial
		all.members = append(all.members, page.Data.Members...)
		for _, m := range page.Data.Members {
			all.clients = append(all.clients, m.Client)
		}
		if after = page.Data.Next; after == "" {
			return all
		}
	}
}

// get does one GET and decodes the answer.
func (c *caller) get(t testing.TB, target, token string, into any) (status int) {
	t.Helper()
	return c.call(t, http.MethodGet, target, token, into)
}

func (c *caller) call(t testing.TB, method, target, token string, into any) (status int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	status, _, err = c.do(req, into)
	if err != nil {
		t.Fatalf("%s %s: %v", method, strings.SplitN(target, "?", 2)[0], err)
	}
	return status
}

// await polls until good is true, for at most so long, and returns how long it took.
func await(t testing.TB, most time.Duration, what string, good func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !good() {
		if time.Since(began) > most {
			t.Fatalf("not within %v: %s", most, what)
		}
		<-tick.C
	}
	return time.Since(began)
}
