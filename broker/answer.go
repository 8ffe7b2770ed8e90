package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rivulet-rt/rivulet/migrations"
)

const (
	// hdrWait is how many milliseconds the asker waited for when it asked: not until when,
	// since the clocks of nodes differ.
	hdrWait = "Rv-Wait"
	// waitUntold is how long a question waits that does not say: of a node of a version
	// that tells none.
	waitUntold = 5 * time.Second
)

// errAskedLongAgo ends an answer for which nobody waits any more.
var errAskedLongAgo = errors.New("broker: the asker has given up")

// asked is a question of another node.
type asked struct {
	question []byte
	reply    string    // subject
	until    time.Time // when its asker gives up, or a little later
}

// startAnswers has every topic answered on its own: one that is slow holds up itself.
func (c *Control) startAnswers() {
	queues := make(map[string]chan asked, len(c.answerers))
	for topic, f := range c.answerers {
		queue := make(chan asked, mostAsked)
		queues[topic] = queue
		c.b.wg.Go(func() { c.answerTopic(c.b.ctx, topic, f, queue) })
	}
	c.b.wg.Go(func() { c.sortQuestions(c.b.ctx, queues) })
}

// sortQuestions gives each topic its questions. It waits for nobody, so that the time a
// question came is when it is read here; what finds no room goes unanswered.
func (c *Control) sortQuestions(ctx context.Context, queues map[string]chan asked) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-c.questions:
			topic := strings.TrimPrefix(m.Subject, migrations.ControlAsk)
			node, question, ok := sender(m.Data)
			queue := queues[topic]
			if !ok || queue == nil || node == c.b.cfg.Node || m.Reply == "" {
				continue
			}
			c.b.met.questions.WithLabelValues(topic).Inc()
			select {
			case queue <- asked{question, m.Reply, time.Now().Add(waitTold(m))}:
			default:
				c.b.met.unanswered.WithLabelValues(topic).Inc()
			}
		}
	}
}

// answerTopic answers the questions of one topic, one after the other. Those whose asker
// has given up are dropped: to answer them would make the next wait until it is as old.
func (c *Control) answerTopic(ctx context.Context, topic string, f Answerer, queue <-chan asked) {
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-queue:
			stale := false
			late := func() bool {
				stale = stale || time.Now().After(q.until)
				return stale
			}
			if !late() {
				f(q.question, func(piece []byte, last bool) error {
					if late() {
						return errAskedLongAgo
					}
					return c.answerPiece(q.reply, piece, last)
				})
			}
			if stale {
				c.b.met.unanswered.WithLabelValues(topic).Inc()
			}
		}
	}
}

func (c *Control) answerPiece(to string, piece []byte, last bool) error {
	mark := byte(pieceMore)
	if last {
		mark = pieceLast
	}
	if err := c.link.nc.Publish(to, signed(c.b.cfg.Node, append([]byte{mark}, piece...))); err != nil {
		return fmt.Errorf("broker: answer: %w", err)
	}
	return nil
}

// tellWait has a question say for how long ctx lets its asker wait.
func tellWait(ctx context.Context, m *nats.Msg) {
	if until, ok := ctx.Deadline(); ok {
		m.Header = nats.Header{hdrWait: {strconv.FormatInt(max(time.Until(until).Milliseconds(), 1), 10)}}
	}
}

// waitTold is what tellWait said. No question waits for longer than an hour.
func waitTold(m *nats.Msg) time.Duration {
	ms, err := strconv.ParseInt(m.Header.Get(hdrWait), 10, 64)
	if err != nil || ms < 1 || ms > math.MaxInt32 {
		return waitUntold
	}
	return min(time.Duration(ms)*time.Millisecond, time.Hour)
}
