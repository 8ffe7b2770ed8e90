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
	at, cfg := now.UnixNano(), &s.registry.cfg
	s.lastLife = max(s.lastLife, s.heard.Load())
	progress := s.out.Check(now)
	if progress.Alive {
		s.lastLife = at
	}
	if due := s.due.Load(); due != 0 && at >= due {
		s.sweepTokens(now)
	}
	expires, begun := s.expires.Load(), s.begun.Load()
	switch {
	case progress.Stalled >= cfg.StallTimeout:
		s.Disconnect(disconnect(protocol.CloseNotReading))
	case at-s.lastLife >= int64(cfg.DeadAfter):
		s.Disconnect(disconnect(protocol.CloseHeartbeat))
	case begun != 0 && at-begun >= int64(cfg.FrameTimeout):
		s.Reject(protocol.CloseHeartbeat, "a frame was begun and did not end within "+cfg.FrameTimeout.String())
	case !s.ready.Load() && at-s.born >= int64(cfg.ConnectTimeout):
		s.Disconnect(disconnect(protocol.CloseConnectTimeout))
	case expires != 0 && at >= expires:
		s.Disconnect(disconnect(protocol.CloseTokenExpired))
	case at >= s.nextPing:
		s.nextPing += int64(cfg.PingInterval)
		s.out.Push(s.codec.Ping(s.browser)) // no room: the client has enough to read
	}
}
