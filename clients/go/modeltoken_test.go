package rivulet_test

import (
	"slices"
	"testing"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

// What a node may do besides: it begins subscriptions that the token names (clause P-17.4), and
// answers the subscribes of patterns in another order than they came.

// bring has the token name a channel or pattern, on the connections that there are.
func (n *modelNode) bring(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if c.find(name) != nil {
			continue
		}
		e := c.subscribe(&protocol.SubscribeCommand{Channel: name})
		c.find(name).brought = true
		c.replies = append(c.replies, e)
	}
	n.wakeLocked()
}

// find returns the subscription of the name, nil if there is none.
func (c *modelConn) find(name string) *modelSub {
	if i := slices.IndexFunc(c.subs, func(s *modelSub) bool { return s.channel == name }); i >= 0 {
		return c.subs[i]
	}
	return nil
}

// takePlace ends the subscription of the name that the token named, if there is one.
func (c *modelConn) takePlace(name string) {
	if s := c.find(name); s != nil && s.brought {
		c.unsubscribe(name)
	}
}

// tarryNext has so many more subscribes of patterns wait, while what comes after is answered.
func (n *modelNode) tarryNext(count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tarry += count
}

// tarries reports whether the answer to a command comes later.
func (c *modelConn) tarries(cmd *protocol.Command) bool {
	n := c.node
	if n.tarry == 0 || cmd.Subscribe == nil || !(&modelSub{channel: cmd.Subscribe.Channel}).pattern() {
		return false
	}
	n.tarry--
	id, subscribe := cmd.ID, *cmd.Subscribe
	time.AfterFunc(3*time.Millisecond, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if !c.gone {
			e := c.subscribe(&subscribe)
			e.ID = id
			c.replies = append(c.replies, e)
			c.wake.Broadcast()
		}
	})
	return true
}

func TestModelOfWhatTheTokenNames(t *testing.T) {
	play(t, modelKind{names: modelNames, token: true}, func(w *modelWorld) []string {
		return w.complete(false, false)
	})
}

func TestModelOfWhatTheTokenNamesAndLateAnswers(t *testing.T) {
	play(t, modelKind{names: modelNames, token: true, tarry: true, ends: true, anew: true}, func(w *modelWorld) []string {
		return w.complete(false, false)
	})
}

func TestModelOfLateAnswers(t *testing.T) {
	play(t, modelKind{names: modelNames, tarry: true, ends: true, anew: true}, func(w *modelWorld) []string {
		return w.complete(false, false)
	})
}
