package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/fanout"
	"github.com/rivulet-rt/rivulet/migrations"
)

// JetStream is the broker's own handle on the server.
func (b *Broker) JetStream() jetstream.JetStream { return b.js }

// StopServer stops the embedded server under the broker, StartServer starts it
// again on the same directory.
func (b *Broker) StopServer() {
	if srv := b.srv.srv.Swap(nil); srv != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
	}
}

func (b *Broker) StartServer() error { return b.srv.start() }

// StoreDir is where the embedded server keeps the log.
func (b *Broker) StoreDir() string { return b.srv.opts.StoreDir }

// Tag is the stream's tag as the node knows it now.
func (b *Broker) Tag(id fanout.StreamID) fanout.StreamTag { return b.reg.byStream(id).tag() }

// SetBootID rewrites the marker of a data directory as if it came from another boot.
func SetBootID(dir, id string, clean bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	return errors.Join(writeMarker(root, marker{BootID: id, Clean: clean}), root.Close())
}

// Escape and Unescape are the encoding of names in headers.
var (
	Escape   = escape
	Unescape = unescape
)

// StopWait is how long Close would wait for the embedded server now.
func (b *Broker) StopWait() time.Duration { return b.srv.stopWait() }

// Reserved is what the embedded server says that its streams reserve.
func (b *Broker) Reserved() int64 { return b.srv.reserved() }

// SetLeastFree changes what the node keeps free on its disk.
func (b *Broker) SetLeastFree(n int64) { b.disk.least.Store(n); b.disk.look() }

// Live is a republished message as the NATS client hands it on.
type Live struct{ msg *nats.Msg }

// LiveMessage makes one; with extra > 0 with a key, names and headers.
func LiveMessage(subject string, data []byte, extra int) Live {
	m := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{
		hdrSequence: {"12345"}, hdrTime: {"2026-11-22T10:00:00.123456789Z"}, hdrPrevious: {"12300"},
		hdrSubject: {"c" + subject[len("live"):]}, "Nats-Stream": {"CH_t_1_0"},
	}}
	if extra > 0 {
		m.Header[hdrID], m.Header[hdrUser], m.Header[hdrHeaders] = []string{"key"}, []string{"user"}, []string{`{"a":"b"}`}
	}
	return Live{msg: m}
}

// DecodeLive decodes it.
func (b *Broker) DecodeLive(m Live) *fanout.Message {
	head, _, _ := migrations.SplitHead(m.msg.Subject)
	msg, _ := b.decodeLive(b.reg.byHead(head), m.msg)
	return msg
}

// DecodeStored decodes a message of the stream CH_t_1_0 with these headers.
func (b *Broker) DecodeStored(subject, kind, target, id, headers string) *fanout.Message {
	msg, ok := b.dec.decode(b.reg.byStream("CH_t_1_0"), stored{subject: subject, seq: 1, time: 1, header: nats.Header{
		hdrKind: {kind}, hdrTarget: {target}, hdrID: {id}, hdrHeaders: {headers},
	}})
	if !ok {
		return nil
	}
	return msg
}

// ParseAck reads an acknowledgement.
func ParseAck(data []byte) (seq uint64, duplicate, refused bool, err error) {
	ack, err := parseAck(data)
	return ack.Seq, ack.Duplicate, ack.Error != nil, err
}

// UserSessions is how many durable sessions a user may have.
const UserSessions = userSessions

// ExpireEnding ends, as another node would later, the sessions whose end was begun.
func (s *Sessions) ExpireEnding(tb testing.TB) {
	tb.Helper()
	if _, err := s.expire(tb.Context(), time.Now().Add(endingFor)); err != nil {
		tb.Fatal(err)
	}
}

// MarkDeleted is a deletion that stops after its marker.
func (b *Broker) MarkDeleted(ctx context.Context, c fanout.Channel, offset uint64) (fanout.Receipt, error) {
	if err := b.letLeave(ctx, b.reg.namespace(c.Namespace()).home(c)); err != nil {
		return fanout.Receipt{}, err
	}
	return b.markDeleted(ctx, c, offset)
}

// Remove erases one message and nothing else.
func (b *Broker) Remove(ctx context.Context, c fanout.Channel, offset uint64) error {
	return b.remove(ctx, b.reg.namespace(c.Namespace()).home(c), offset)
}

// HoldReads lets nobody read the channel's stream until release is called.
func (b *Broker) HoldReads(c fanout.Channel) (release func()) {
	s := b.reg.namespace(c.Namespace()).home(c)
	if !s.reads.TryAcquire(readsPerStream) {
		panic("somebody reads")
	}
	return func() { s.reads.Release(readsPerStream) }
}

// Erasures is how many deletions are at work.
func (b *Broker) Erasures() int {
	b.erasures.mu.Lock()
	defer b.erasures.mu.Unlock()
	return len(b.erasures.running)
}

// CheckGroups has groups look for what is lost more often; before the first join.
func (b *Broker) CheckGroups(every time.Duration) { b.groups.every = every }

// LoseSettlements has everything that a group of m asks for be lost with the connection.
func LoseSettlements(m fanout.Membership) {
	link := m.(*membership).g.mux.link
	link.dials.Add(1)
	m.(*membership).g.mux.lost(link.nc)
}

// ExpireAll ends every session, as if nothing had been heard of any for ever.
func (s *Sessions) ExpireAll(tb testing.TB) {
	tb.Helper()
	if _, err := s.expire(tb.Context(), time.Now().Add(2*mostSessionTTL)); err != nil {
		tb.Fatal(err)
	}
}

// LoseAnswers has lose decide, for every write of a session that was done, whether its
// answer is lost: what is "record", "keep", "move" or "drop". It is called before Serve.
func (s *Sessions) LoseAnswers(lose func(what string) bool) {
	s.b.js = lossyLog{s.b.js, lose}
	s.cons = lossyShelf{s.cons, lose}
}

var errLostAnswer = fmt.Errorf("%w: the answer was lost", fanout.ErrUnavailable)

type lossyLog struct {
	jetstream.JetStream
	lose func(what string) bool
}

func (l lossyLog) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ack, err := l.JetStream.PublishMsg(ctx, m, opts...)
	if err == nil && strings.HasPrefix(m.Subject, strings.TrimSuffix(migrations.SessionsWildcard, ">")) && l.lose("record") {
		return nil, nats.ErrTimeout
	}
	return ack, err
}

type lossyShelf struct {
	shelf
	lose func(what string) bool
}

func (l lossyShelf) answer(what string, err error) error {
	if err == nil && l.lose(what) {
		return errLostAnswer
	}
	return err
}

func (l lossyShelf) keep(ctx context.Context, id fanout.SessionID, k fanout.SessionChannel, ttl timeToLive) (fanout.SessionChannel, error) {
	k, err := l.shelf.keep(ctx, id, k, ttl)
	return k, l.answer("keep", err)
}

func (l lossyShelf) move(ctx context.Context, id fanout.SessionID, k fanout.SessionChannel, ttl timeToLive, alive bool) error {
	return l.answer("move", l.shelf.move(ctx, id, k, ttl, alive))
}

func (l lossyShelf) drop(ctx context.Context, id fanout.SessionID, k fanout.SessionChannel) error {
	return l.answer("drop", l.shelf.drop(ctx, id, k))
}

// HoldCount is a count of all sessions that goes on until done.
func (s *Sessions) HoldCount() (done func()) {
	<-s.count.turn
	return func() { s.count.turn <- struct{}{} }
}

// Window is the window of publishes in flight.
type Window struct{ *window }

// NewWindow returns one of its own.
func NewWindow(size int) Window { return Window{newWindow(size, size/2)} }

// Acquire is acquire.
func (w Window) Acquire(ctx context.Context, namespace string) error {
	return w.acquire(ctx, namespace)
}

// TryAcquire is tryAcquire.
func (w Window) TryAcquire(namespace string) bool { return w.tryAcquire(namespace) }

// Release is release.
func (w Window) Release(namespace string) { w.release(namespace) }

// Turns is how many turns are waited for.
func (w Window) Turns() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.turn)
}

// Drained is drained.
func (w Window) Drained(ctx context.Context) error { return w.drained(ctx) }

// GroupConsumer is the name of the consumer that is a group.
var GroupConsumer = consumerName

// TimeIsUp has the time for all that m has be over, before the group notices.
func TimeIsUp(m fanout.Membership) {
	g := m.(*membership).g
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range m.(*membership).inFlight {
		d.at = d.at.Add(-g.cfg.AckWait)
	}
}

// HoldTime has the time for all that m has never be over, as far as the group notices.
func HoldTime(m fanout.Membership) {
	g := m.(*membership).g
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range m.(*membership).inFlight {
		d.at = d.at.Add(time.Hour)
	}
}

// ComesAgain is after how long a message that was given back comes again.
func ComesAgain(m fanout.Membership, offset uint64) time.Duration {
	g := m.(*membership).g
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Until(g.again[offset].due)
}

// Spare is how many messages wait on the node because no member had room.
func Spare(m fanout.Membership) int {
	g := m.(*membership).g
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.spare)
}

// Requests is how often the group of m has asked for messages on its node.
func Requests(m fanout.Membership) uint64 {
	g := m.(*membership).g
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.request
}

// LoseRequest has what the group of m asked for be lost, without a word.
func LoseRequest(tb testing.TB, m fanout.Membership) {
	tb.Helper()
	g := m.(*membership).g
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.sub
	if err := errors.Join(g.listen(), old.Unsubscribe(), g.mux.link.nc.Flush()); err != nil {
		tb.Fatal(err)
	}
}

// Reconnect has the connection of the groups be lost, and come back.
func Reconnect(tb testing.TB, m fanout.Membership) {
	tb.Helper()
	if err := m.(*membership).g.mux.link.nc.ForceReconnect(); err != nil {
		tb.Fatal(err)
	}
}

// TrustForTest has l told of keys and revocations by each call of look alone; ago makes it so
// long ago that a look succeeded.
func TrustForTest(b *Broker, l TrustListener) (look func(context.Context) error, ago func(time.Duration)) {
	t := newTrust(b)
	t.mux, t.listener = b.trust.mux, l
	return t.look, func(d time.Duration) { t.read, t.verified = time.Now().Add(-d), time.Time{} }
}
