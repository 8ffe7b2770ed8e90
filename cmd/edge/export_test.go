package edge

import (
	"net"
	"time"
)

// SetProxyTimeout changes how long a listener of ListenProxy waits for a header.
func SetProxyTimeout(l net.Listener, d time.Duration) {
	if p, ok := l.(*proxyListener); ok {
		p.timeout = d
	}
}
