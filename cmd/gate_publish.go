package cmd

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"
	"sync"

	"github.com/rivulet-rt/rivulet/api"
	"github.com/rivulet-rt/rivulet/auth/hook"
	"github.com/rivulet-rt/rivulet/fanout"
)

// publisher is what sessions and the API publish with.
type publisher = api.Publisher

// hookedPublisher asks before it stores.
type hookedPublisher struct {
	next  publisher
	hooks map[string]*hook.Hook // by namespace
}

// askedPublish is the question of a publish hook: messages of one publisher.
type askedPublish struct {
	ID       string         `json:"id"`
	Type     string         `json:"type"`
	User     string         `json:"user"`
	Key      string         `json:"publisher"`
	Client   string         `json:"client,omitempty"`
	Messages []askedMessage `json:"messages"`
}

type askedMessage struct {
	Channel   string            `json:"channel"`
	Data      json.RawMessage   `json:"data,omitempty"`
	Binary    []byte            `json:"data_base64,omitempty"`
	Headers   map[string]string `json:"headers,omitempty"`
	Key       string            `json:"idempotency_key,omitempty"`
	Updates   uint64            `json:"updates,omitempty"`
	DeliverAt int64             `json:"deliver_at,omitempty"` // Unix milliseconds
}

// mostAskedBytes of data go into one question, but one message always.
const mostAskedBytes = 1 << 20

// Publish implements api.Publisher.
func (p *hookedPublisher) Publish(ctx context.Context, pub *fanout.Publication) (fanout.Receipt, error) {
	if h := p.hooks[pub.Channel.Namespace()]; h != nil {
		if err := ask(ctx, h, []*fanout.Publication{pub})[0]; err != nil {
			return fanout.Receipt{}, err
		}
	}
	return p.next.Publish(ctx, pub)
}

// PublishAtomic implements api.Publisher: one no is a no to all.
func (p *hookedPublisher) PublishAtomic(ctx context.Context, list []*fanout.Publication) ([]fanout.Receipt, error) {
	for _, g := range p.groups(list) {
		if g.hook == nil {
			continue
		}
		for i, err := range ask(ctx, g.hook, g.pubs) {
			if err != nil {
				return nil, &fanout.BatchError{Index: g.at[i], Err: err}
			}
		}
	}
	return p.next.PublishAtomic(ctx, list)
}

// PublishAll implements api.Publisher and session.Publisher. Namespaces do not wait for
// each other's hooks.
func (p *hookedPublisher) PublishAll(ctx context.Context, list []*fanout.Publication) []fanout.Outcome {
	if !slices.ContainsFunc(list, func(pub *fanout.Publication) bool { return p.hooks[pub.Channel.Namespace()] != nil }) {
		return p.next.PublishAll(ctx, list)
	}
	groups := p.groups(list)
	outcomes := make([]fanout.Outcome, len(list))
	var work sync.WaitGroup
	for _, g := range groups {
		work.Go(func() { p.publishGroup(ctx, g, outcomes) })
	}
	work.Wait()
	return outcomes
}

// group are the publications of a list that go together, and where they are in it.
type group struct {
	hook *hook.Hook // nil: they are not asked about
	pubs []*fanout.Publication
	at   []int
}

// groups keeps the order within each: a channel is of one group.
func (p *hookedPublisher) groups(list []*fanout.Publication) []*group {
	by := map[*hook.Hook]*group{}
	var groups []*group
	for i, pub := range list {
		h := p.hooks[pub.Channel.Namespace()]
		g := by[h]
		if g == nil {
			g = &group{hook: h}
			by[h] = g
			groups = append(groups, g)
		}
		g.pubs, g.at = append(g.pubs, pub), append(g.at, i)
	}
	return groups
}

func (p *hookedPublisher) publishGroup(ctx context.Context, g *group, outcomes []fanout.Outcome) {
	pubs, at := g.pubs, g.at
	if g.hook != nil {
		pubs, at = nil, nil
		for i, err := range ask(ctx, g.hook, g.pubs) {
			if err != nil {
				outcomes[g.at[i]].Err = err
				continue
			}
			pubs, at = append(pubs, g.pubs[i]), append(at, g.at[i])
		}
	}
	if len(pubs) == 0 {
		return
	}
	for i, o := range p.next.PublishAll(ctx, pubs) {
		outcomes[at[i]] = o
	}
}

// ask returns an error for each publication, nil where it is allowed. It asks about as many
// at once as one question may have.
func ask(ctx context.Context, h *hook.Hook, pubs []*fanout.Publication) []error {
	errs := make([]error, 0, len(pubs))
	for len(pubs) > 0 {
		n, size := 0, 0
		for n < len(pubs) && n < hook.MaxItems && (n == 0 || size+len(pubs[n].Data) <= mostAskedBytes) {
			size += len(pubs[n].Data)
			n++
		}
		errs = append(errs, askTogether(ctx, h, pubs[:n])...)
		pubs = pubs[n:]
	}
	return errs
}

// askTogether asks one question, and where the service refuses that as a whole, again about
// each half: a message that it does not take, or too many of them, is no refusal of others.
func askTogether(ctx context.Context, h *hook.Hook, pubs []*fanout.Publication) []error {
	verdicts, err := h.Ask(ctx, questionOf(pubs))
	if errors.Is(err, hook.ErrTogether) {
		half := len(pubs) / 2
		return append(askTogether(ctx, h, pubs[:half]), askTogether(ctx, h, pubs[half:])...)
	}
	errs := make([]error, len(pubs))
	for i := range errs {
		if errs[i] = err; err == nil {
			errs[i] = denial(verdicts[i])
		}
	}
	return errs
}

func questionOf(pubs []*fanout.Publication) hook.Question {
	first := pubs[0]
	body := askedPublish{ID: rand.Text(), Type: "publish", User: first.User, Key: first.Publisher, Client: first.Client}
	keys := make([]string, len(pubs))
	for i, p := range pubs {
		m := askedMessage{
			Channel: p.Channel.String(), Headers: p.Headers, Key: p.Key, Updates: p.Updates, DeliverAt: p.DeliverAt / 1e6,
		}
		if p.Binary {
			m.Binary = p.Data
		} else {
			m.Data = p.Data
		}
		body.Messages = append(body.Messages, m)
		keys[i] = hook.KeyOf(p.Publisher, p.Channel.String())
	}
	return hook.Question{Caller: callerOf(first.Publisher, first.Client), Body: body, Keys: keys}
}
