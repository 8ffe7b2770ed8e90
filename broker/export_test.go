package broker

import (
	"context"
	"errors"
	"os"
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

// ExpireAll ends every session, as if nothing had been heard of any for ever.
func (s *Sessions) ExpireAll(tb testing.TB) {
	tb.Helper()
	if _, err := s.expire(tb.Context(), time.Now().Add(2*mostSessionTTL)); err != nil {
		tb.Fatal(err)
	}
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

// Drained is drained.
func (w Window) Drained(ctx context.Context) error { return w.drained(ctx) }
