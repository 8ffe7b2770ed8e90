package rivulet_test

import (
	"fmt"
	"testing"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
	"github.com/rivulet-rt/rivulet/protocol"
)

// What a node says of its own accord is not followed by advice for another case.
func TestDisconnectReasonStandsAlone(t *testing.T) {
	for code, reason := range map[protocol.Code]string{
		protocol.CloseSuperseded: "the durable session was deleted", protocol.CloseForbidden: "disconnected by an administrator",
	} {
		c := open(t, scripted(t, func(p *peer) {
			p.greetSession(true)
			p.subscribed(protocol.SubscribedEvent{Position: at(1), Recovered: true, Durable: true})
			p.send(protocol.Event{Disconnect: &protocol.DisconnectEvent{Code: code, Reason: reason}})
			p.close(code)
		}), durably())
		s := subscribe(t, c, "chat:lobby", rivulet.SubscribeOptions{Durable: true})
		<-s.Done()
		if got, want := fmt.Sprint(s.Err()), fmt.Sprintf("rivulet: %d: %s", code, reason); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
