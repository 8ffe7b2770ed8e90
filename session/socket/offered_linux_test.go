package socket_test

import (
	"net"
	"testing"

	"github.com/rivulet-rt/rivulet/session/socket"
)

// withheld wraps plain TCP of which something was read already.
type withheld struct{ net.Conn }

func (withheld) Plain() net.Conn { return nil }

func TestTakesWhatAWrapperOffers(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(net.Conn) net.Conn
		want bool
	}{
		{"offered", func(c net.Conn) net.Conn { return wrapper{c} }, true},
		{"withheld", func(c net.Conn) net.Conn { return withheld{c} }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, server := tcp(t)
			h := attach(t, group(t), test.make(server), nil)
			if _, plain := h.driver.(*socket.Socket); plain != test.want {
				t.Errorf("driven by %T", h.driver)
			}
			_ = h.driver.Close()
			_ = h.end()
			h.driver.Release()
		})
	}
}
