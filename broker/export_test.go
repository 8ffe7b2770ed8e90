package broker

import (
	"errors"
	"os"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rivulet-rt/rivulet/fanout"
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
func SetBootID(dir, id string, clean bool, sync Sync) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	return errors.Join(writeMarker(root, marker{BootID: id, Clean: clean, Sync: sync}), root.Close())
}

// Escape and Unescape are the encoding of names in headers.
var (
	Escape   = escape
	Unescape = unescape
)

// SetLeastFree changes what the node keeps free on its disk.
func (b *Broker) SetLeastFree(n int64) { b.disk.least.Store(n); b.disk.look() }
