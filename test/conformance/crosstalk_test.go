package conformance_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/rivulet-rt/rivulet/test/conformance/internal/wire"
)

// TestNobodyHearsAnother: file descriptors are used again at once. While many
// connections end in all manners with messages on their way, no byte goes to the
// one that has the number next: not into its handshake and not into its stream.
func TestNobodyHearsAnother(t *testing.T) {
	const clients, rounds = 24, 150
	n := startNode(t)
	var readers, publisher sync.WaitGroup
	quit := make(chan struct{})
	values := make([]string, clients)
	for i := range clients {
		pad := bytes.Repeat([]byte{byte('a' + i)}, 20<<(i%10)) // up to 10 KiB
		values[i] = fmt.Sprintf(`{"for":%d,"x":%q}`, i, pad)
	}
	publisher.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
			}
			for i, v := range values {
				if err := n.tryPublish(fmt.Sprintf("t:own-%d", i), v, v, v); err != nil {
					t.Errorf("publish: %v", err)
					return
				}
			}
		}
	})
	for i, v := range values {
		readers.Go(func() {
			for round := range rounds {
				if err := n.hear(i, round, v); err != nil {
					t.Errorf("client %d, round %d: %v", i, round, err)
					return
				}
			}
		})
	}
	readers.Wait()
	close(quit)
	publisher.Wait()
}

// hear subscribes to client i's channel, reads some messages and leaves.
func (n *node) hear(i, round int, value string) error {
	d := wire.Dialer{Local: fmt.Sprintf("127.0.0.%d", i+1)}
	if i%3 == 0 {
		d.ReadBuffer = 2 << 10 // something always waits for it
	}
	channel := fmt.Sprintf("t:own-%d", i)
	c, err := n.subscribe(d, channel, `,"last":3`)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for got := 0; got < 1+round%5; {
		ev, err := c.Next()
		switch {
		case err != nil:
			return err
		case bytes.HasPrefix(ev.Payload, []byte(`{"message":{"channel":"`+channel+`",`)) && bytes.HasSuffix(ev.Payload, []byte(`"data":`+value+`}}`)):
			got++
		default:
			if err := notice(ev.Payload); err != nil {
				return err
			}
		}
	}
	switch round % 4 {
	case 0:
		wire.Reset(c.Conn)
	case 1:
		return c.Send(wire.Frame{Opcode: 5}) // and does not wait for the answer
	case 2:
		return c.Send(wire.Frame{Opcode: wire.Close, Payload: wire.ClosePayload(1000, "")})
	}
	return nil
}
