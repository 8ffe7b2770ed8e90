//go:build linux

package scenario

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/cmd/bench/raw"
)

// floodNamespace is another namespace than everything else's.
const floodNamespace = "flood"

// boundedRate is a publish_rate as an operator gives it to a namespace that floods.
const boundedRate = 1000

// abuse measures what clients within the limits notice of one that is not: with its 16
// connections and one token it does one thing as fast as the node lets it. It runs in a
// process of its own with the lowest priority, since elsewhere it would not take the
// processor from the node that it shares a machine with here.
func abuse(ctx context.Context, cfg Config) ([]Row, error) {
	cfg.Secret = secret
	cfg.Limits = "limits.exempt=" // 127.0.0.2 is somebody else
	var rows []Row
	for _, way := range allWays {
		if !cfg.does(way) {
			continue
		}
		more, err := besides(ctx, cfg, "abuse", way, namespace, namespace)
		rows = append(rows, more...)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", way, err)
		}
	}
	return rows, nil
}

// bulkhead measures what clients of one namespace notice of a flood in another that no
// limit of a caller holds back.
func bulkhead(ctx context.Context, cfg Config) ([]Row, error) {
	cfg.Secret = secret
	cfg.Limits = "limits.publishes_per_user=0"
	var rows []Row
	for _, v := range []struct {
		way, quiet, flooded string
		rate                int // of the flooded namespace; 0: nothing bounds it
	}{
		{abusePublish, namespace, floodNamespace, 0},
		{abusePublish, floodNamespace, namespace, 0},
		{abusePublish, namespace, floodNamespace, boundedRate},
		{abuseBatch, namespace, floodNamespace, 0},
		{abuseBatch, floodNamespace, namespace, 0},
		{abuseBatch, namespace, floodNamespace, boundedRate},
		{abuseHistory, namespace, floodNamespace, 0},
		{abuseHistory, floodNamespace, namespace, 0},
	} {
		if !cfg.does(v.way) {
			continue
		}
		cfg.FloodRate = v.rate
		more, err := besides(ctx, cfg, "bulkhead", v.way, v.quiet, v.flooded)
		rows = append(rows, more...)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", v.way, err)
		}
	}
	return rows, nil
}

// besides measures deliveries in the namespace quiet, alone and while somebody abuses
// another, or the same.
func besides(ctx context.Context, cfg Config, name, way, quiet, abused string) ([]Row, error) {
	r, err := newRig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer r.close()
	list, err := r.rooms(ctx, quiet)
	if err != nil {
		return nil, err
	}
	if way == abuseHistory { // there is something to read
		if err := r.fill(ctx, abused); err != nil {
			return nil, err
		}
	}
	s := cfg.Sizes
	// What is begun for the first time is not what is measured.
	if _, err := r.pace(ctx, list, s.AbusePerSecond, s.AbuseFor/4, s.AbuseRoom); err != nil {
		return nil, err
	}
	bounded := ""
	if cfg.FloodRate > 0 {
		bounded = fmt.Sprintf(" with publish_rate %d", cfg.FloodRate)
	}
	alone := Row{Scenario: name, Case: fmt.Sprintf("%s: %s alone%s", way, quiet, bounded)}
	cfg.logf("%s: %s", name, alone.Case)
	if err := r.quiet(ctx, &alone, list); err != nil {
		return nil, err
	}
	beside := Row{Scenario: name, Case: fmt.Sprintf("%s: %s beside abuse of %s%s", way, quiet, abused, bounded)}
	cfg.logf("%s: %s", name, beside.Case)
	abuses, err := r.beside(ctx, &beside, list, way, abused)
	alone.add("p99 / alone", 1)
	alone.add("abuses/s", 0)
	beside.versus(&alone, "p99 ms", "p99 / alone")
	beside.add("abuses/s", abuses)
	return []Row{alone, beside}, err
}

// rooms makes channels with subscribers, and those who publish in them.
func (r *rig) rooms(ctx context.Context, ns string) ([]*topic, error) {
	s := r.cfg.Sizes
	var list []*topic
	for i := range s.AbuseRooms {
		channel := fmt.Sprintf("%s:room.%d", ns, i)
		for k := range s.AbuseRoom {
			token, err := mintFor(fmt.Sprintf("user-%d-%d", i, k), ns)
			if err != nil {
				return nil, err
			}
			sub := raw.NewSubscriber(r.tally, channel)
			if err := sub.ConnectPeer(r.loop, raw.Peer{To: r.to, Token: token}); err != nil {
				return nil, err
			}
			r.subs = append(r.subs, sub)
		}
		if err := r.handshakes(ctx, connectWindow); err != nil {
			return nil, err
		}
		token, err := mintFor(fmt.Sprintf("publisher-%d", i), ns)
		if err != nil {
			return nil, err
		}
		list = append(list, &topic{name: channel, req: raw.NewPeerRequest(raw.Peer{Token: token}, channel, r.events[i%len(r.events)])})
	}
	if err := r.wait(ctx, "subscriptions", func() bool { return r.tally.Subscribed >= len(r.subs) }); err != nil {
		return nil, err
	}
	return list, r.relane(list, publishLanes)
}

// fill stores messages for a history in a channel of the namespace.
func (r *rig) fill(ctx context.Context, ns string) error {
	token, err := mintFor("filler", ns)
	if err != nil {
		return err
	}
	one := `{"channel":"` + ns + `:archive","data":"` + strings.Repeat("x", 200) + `"}`
	body := `{"messages":[` + strings.Repeat(one+",", 999) + one + `]}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.to.String()+"/v1/messages", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusCreated {
		err = fmt.Errorf("scenario: fill: %s: %.200s", resp.Status, text)
	}
	return err
}

// quiet measures at a steady rate that the node hardly notices.
func (r *rig) quiet(ctx context.Context, row *Row, list []*topic) error {
	s := r.cfg.Sizes
	r.measure(int(s.AbuseFor.Seconds()*float64(s.AbusePerSecond)) * s.AbuseRoom)
	before, began := r.node.cpu(), time.Now()
	if _, err := r.pace(ctx, list, s.AbusePerSecond, s.AbuseFor, s.AbuseRoom); err != nil {
		return err
	}
	row.latencies(r.tally.Latencies)
	row.add("server cores", (r.node.cpu()-before).Seconds()/time.Since(began).Seconds())
	r.tally.Measure = false
	return nil
}

// beside is quiet while an abusive client is at work.
func (r *rig) beside(ctx context.Context, row *Row, list []*topic, way, ns string) (abuses float64, err error) {
	token, err := mintFor("abuser", ns)
	if err != nil {
		return 0, err
	}
	args := append([]string{"-n", "19"}, r.cfg.Self...)
	args = append(args, "-abuse", way, "-worker", r.to.String(), "-namespace", ns, "-token", token)
	nice, err := exec.LookPath("nice")
	if err != nil {
		return 0, err
	}
	p, err := launch(ctx, false, nil, nice, args...)
	if err != nil {
		return 0, err
	}
	defer p.kill()
	if _, err := p.await(ctx, "abusing"); err != nil {
		return 0, err
	}
	if err := r.pass(ctx, r.cfg.Sizes.AbuseFor/4); err != nil { // its burst is over
		return 0, err
	}
	began := time.Now()
	if err := r.quiet(ctx, row, list); err != nil {
		return 0, err
	}
	_ = p.in.Close() // which ends it
	line, err := p.await(ctx, "abused")
	if err != nil {
		return 0, err
	}
	var done, ended int
	_, err = fmt.Sscanf(line, "abused %d %d", &done, &ended)
	return float64(done) / (time.Since(began) + r.cfg.Sizes.AbuseFor/4).Seconds(), err
}

// mintFor makes a token for all of a namespace.
func mintFor(user, ns string) (string, error) {
	cfg := auth.DefaultConfig().HMAC
	cfg.Secret = auth.NewSecret(secret)
	caps, err := auth.NewCapabilities(map[string][]auth.Action{ns + ":>": {auth.Subscribe, auth.Publish, auth.History}})
	if err != nil {
		return "", err
	}
	return auth.Mint(cfg, auth.Claims{Subject: user, ExpiresAt: time.Now().Add(time.Hour), Capabilities: caps})
}
