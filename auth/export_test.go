package auth

import "net/http"

// TransportForTest has the key sets of v fetched by rt, which needs no network.
func TransportForTest(v *Verifier, rt http.RoundTripper) {
	for _, r := range v.remote {
		r.client.Transport = rt
	}
}
