package session

import (
	"math/rand/v2"
	"time"

	"github.com/rivulet-rt/rivulet/protocol"
)

func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2) }

// Sweep closes the connection when a time limit has passed, and sends the
// heartbeat when it is due. What the client has taken of data that waited for it
// counts as a sign of life: its answer to a ping is behind that data.
func (s *Session) Sweep(now time.Time) {
	heard := time.Unix(0, s.heard.Load())
	if heard.After(s.lastLife) {
		s.lastLife = heard
	}
	progress := s.out.Check(now)
	if progress.Alive {
		s.lastLife = now
	}
	expires := s.expires.Load()
	switch {
	case progress.Stalled >= s.cfg.StallTimeout:
		s.Disconnect(disconnect(protocol.CloseNotReading))
	case now.Sub(s.lastLife) >= s.cfg.DeadAfter:
		s.Disconnect(disconnect(protocol.CloseHeartbeat))
	case !s.ready.Load() && now.Sub(s.born) >= s.cfg.ConnectTimeout:
		s.Disconnect(disconnect(protocol.CloseConnectTimeout))
	case expires != 0 && now.UnixNano() >= expires:
		s.Disconnect(disconnect(protocol.CloseTokenExpired))
	case !now.Before(s.nextPing):
		s.nextPing = s.nextPing.Add(s.cfg.PingInterval)
		s.out.Push(s.codec.Ping(s.browser)) // no room: the client has enough to read
	}
}
